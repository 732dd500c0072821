"""`data show`: rows as the model will see them, in a terminal, as a page or as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from rich.console import Console

from posttrain.data.template import probe_turns
from posttrain.errors import UserError
from posttrain.inspection.document import as_document
from posttrain.inspection.opened import Opened
from posttrain.inspection.page import write_page
from posttrain.inspection.pick import pick
from posttrain.inspection.row import Shown, look_at
from posttrain.inspection.terminal import legend, print_row
from posttrain.model.tokenizer import load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


TERMINAL_ROWS, PAGE_ROWS = 3, 2000  # how many are shown where nothing else is asked for


def show(
    opened: Opened,
    stdout: TextIO,
    *,
    count: int | None = None,
    at: int | None = None,
    place: str | None = None,
    grep: str | None = None,
    seed: int | None = None,
    token_ids: bool = False,
    html: Path | None = None,
    as_json: bool = False,
) -> None:
    """Show rows of `opened` on `stdout`, or write the page `html` and print its path. See `pick` for which rows.

    Raises UserError as `pick` and `look_at_rows` do.
    """
    if html is not None and seed is None and at is None and place is None:
        seed = 0  # a page that cannot hold all rows is a sample of them, not the first ones
    wanted = PAGE_ROWS if html is not None else 1 if at or place else TERMINAL_ROWS
    picked, choice = pick(opened.records, count or wanted, at=at, place=place, grep=grep, seed=seed)
    how = _how(len(picked), choice, at or place, grep, seed)
    for note in [*opened.notes, how]:
        print(note, file=sys.stderr)
    rows = look_at_rows(opened, picked)
    if html is not None:
        write_page(html, opened, _followed(rows, len(picked)), how, token_ids=token_ids)
        print(html, file=stdout)
    elif as_json:
        print(json.dumps(as_document(opened, list(rows), choice), indent=2, default=str), file=stdout)
    else:
        _print_rows(opened, rows, Console(file=stdout), token_ids)


def look_at_rows(opened: Opened, picked: Sequence[int]) -> Iterator[Shown]:
    """Yield the picked records as training sees them; one that cannot be rendered comes with its error.

    Raises UserError before the first where no template will do, and after the last when none could be rendered.
    """
    tokenizer = tokenizer_of(opened)
    broken = 0
    for index in picked:
        row = look_at(opened.records[index], index + 1, opened.stage, tokenizer, opened.settings)
        broken += row.error is not None
        yield row
    if picked and broken == len(picked):
        raise UserError(
            "the row cannot be rendered" if broken == 1 else f"none of the {broken:,} rows can be rendered",
            where=opened.name,
            fix="--model NAME takes another model's tokenizer and chat template.",
        )


def tokenizer_of(opened: Opened) -> PreTrainedTokenizerBase:
    """The tokenizer, without its model. Raises UserError where its chat template does not end a turn."""
    tokenizer = load_tokenizer(opened.parent, opened.model)
    probe_turns(tokenizer)
    return tokenizer


def _print_rows(opened: Opened, rows: Iterator[Shown], console: Console, token_ids: bool) -> None:
    for number, row in enumerate(rows):
        if number == 0:
            console.print(legend(console, opened.stage, opened.settings, token_ids=token_ids), soft_wrap=True)
            console.print()
        print_row(console, row, token_ids=token_ids)


def _how(picked: int, choice: int, start: object, grep: str | None, seed: int | None) -> str:
    """``2,000 of 7,473 rows, drawn at random``."""
    said = f"{choice:,} row{'s' * (choice != 1)}" + (f" that say {grep!r}" if grep else "")
    if picked == choice:
        return said
    drawn = f", drawn at random (seed {seed})" if seed is not None else ""
    return f"{picked:,} of {said}{f', from {start} on' if start else ''}{drawn}"


def _followed(rows: Iterator[Shown], total: int) -> Iterator[Shown]:
    from posttrain.progress import progress

    with progress("rows", total) as advance:
        for row in rows:
            yield row
            advance()
