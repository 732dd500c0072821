"""`posttrain data`: look at rows, and shape them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from posttrain.cli.options import (
    AsJson,
    Columns,
    FormatName,
    MaxLength,
    PartOfRecipe,
    Revision,
    Sets,
    SourceOrRecipe,
    Split,
    StageOfRows,
    Subset,
    TokenizerOf,
    piped,
)
from posttrain.errors import UserError


def formats(as_json: AsJson = False) -> None:
    """List the row formats that each stage reads, with the columns that they need.

    Example: posttrain data formats
    """
    from posttrain.data.formats import FORMATS

    found = {
        stage: {name: {"title": format.title, "columns": format.needs} for name, format in formats.items()}
        for stage, formats in FORMATS.items()
    }
    if as_json:
        print(json.dumps(found, indent=2))
        return
    width = max(len(name) for formats in found.values() for name in formats)
    for stage, listed in found.items():
        print(stage)
        for name, said in listed.items():
            print(f"  {name:{width}}  {said['columns']}")


def show(
    source: SourceOrRecipe,
    rows: Annotated[
        int | None, typer.Option("--rows", min=1, help="How many rows; absent: 3, of a page 2,000.")
    ] = None,
    at: Annotated[int | None, typer.Option("--at", help="Begin with the row of this number, from 1.")] = None,
    row: Annotated[
        str | None, typer.Option("--row", help="Begin with the row of this place, e.g. rows.jsonl:137.")
    ] = None,
    grep: Annotated[str | None, typer.Option("--grep", help="Only rows that say this.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Draw the rows at random, by this seed.")] = None,
    tokens: Annotated[bool, typer.Option("--tokens", help="Show where each token ends, and its id.")] = False,
    html: Annotated[Path | None, typer.Option("--html", help="Write a page to scroll and filter.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the page.")] = False,
    as_json: AsJson = False,
    stage: StageOfRows = None,
    part: PartOfRecipe = None,
    set_: Sets = None,
    model: TokenizerOf = None,
    max_length: MaxLength = None,
    columns: Columns = None,
    format: FormatName = None,
    subset: Subset = None,
    split: Split = None,
    revision: Revision = None,
) -> None:
    """Show rows as the model will see them: the template applied, what is trained, what is cut.

    Examples: posttrain data show sft.yaml; posttrain data show rows.jsonl --at 17 --tokens
    """
    from posttrain.inspection.opened import open_rows
    from posttrain.inspection.show import show as show_rows
    from posttrain.launch.start import reserved_stdout

    if html is not None and as_json:
        raise UserError("a page or JSON, not both", where="--json", fix="Leave one of them out.")
    if html is not None and not html.parent.is_dir():
        raise UserError(f"there is no folder {html.parent}", where="--html", fix="Make it first.")
    if html is not None and html.exists() and not force:
        raise UserError("is there already", where=str(html), fix="--force writes over it.")
    with reserved_stdout() as stdout:
        opened = open_rows(
            source,
            stage=stage,
            part=part,
            overrides=set_ or [],
            model=piped(model, "data show"),
            max_length=max_length,
            columns=columns or [],
            format=format,
            subset=subset,
            split=split,
            revision=revision,
        )
        show_rows(
            opened,
            stdout,
            count=rows,
            at=at,
            place=row,
            grep=grep,
            seed=seed,
            token_ids=tokens,
            html=html,
            as_json=as_json,
        )


def stats(
    source: SourceOrRecipe,
    rows: Annotated[int | None, typer.Option("--rows", min=1, help="Count only so many, drawn at random.")] = None,
    as_json: AsJson = False,
    stage: StageOfRows = None,
    part: PartOfRecipe = None,
    set_: Sets = None,
    model: TokenizerOf = None,
    max_length: MaxLength = None,
    columns: Columns = None,
    format: FormatName = None,
    subset: Subset = None,
    split: Split = None,
    revision: Revision = None,
) -> None:
    """Say what is in the rows, in figures, and what to do about what is wrong with them.

    Examples: posttrain data stats sft.yaml; posttrain data stats rows.jsonl --rows 10000 --json
    """
    from posttrain.inspection.report import report
    from posttrain.launch.start import reserved_stdout

    with reserved_stdout() as stdout:
        report(
            source,
            stdout,
            rows=rows,
            part=part,
            overrides=set_ or [],
            model=piped(model, "data stats"),
            as_json=as_json,
            stage=stage,
            max_length=max_length,
            columns=columns or [],
            format=format,
            subset=subset,
            split=split,
            revision=revision,
        )
