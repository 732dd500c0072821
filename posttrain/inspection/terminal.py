"""Rows in a terminal: turn by turn, trained text apart from what is only read; in colours, or marked without them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby, zip_longest
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.style import Style
from rich.text import Text

from posttrain.inspection.row import Piece, Shown
from posttrain.visible import visible

TRAINED, LOWERED, SPECIAL, CUT, DIM, ROLE = (
    Style.parse(words)
    for words in ("bold green", "bold red", "magenta", "strike bright_black", "bright_black", "bold cyan")
)
MARKS = {"trained": ("⟦", "⟧"), "cut": ("⟨✂ ", "⟩")}
SIDE_BY_SIDE = 140  # columns
_GUTTER = len("assistant") + 1
_NUMBERED_GUTTER = len("assistant 12") + 1
_CUT_SHOWN = 300  # characters of a cut piece
_FIELD_SHOWN = 500


def has_colours(console: Console) -> bool:
    """Whether text can be told apart by its colour; else it is marked."""
    return console.color_system is not None and not console.no_color


def legend(console: Console, stage: str, settings: Mapping[str, Any], *, token_ids: bool) -> Text:
    """One line that says what the colours, or the marks, mean."""
    limit = settings.get("max_length")
    cut = f"cut at {limit:,} tokens" if limit else None
    lowered = "raised in chosen, lowered in rejected" if stage == "dpo" else None
    lowered = "raised by a thumb up, lowered by one down" if stage == "kto" else lowered
    if has_colours(console):
        said = [Text("trained" + (f" ({lowered})" if lowered else ""), TRAINED), Text("read only")]
        said += [Text("<special token>", SPECIAL)]
        said += [Text(cut, CUT)] if cut else []
    else:
        said = [Text(f"⟦trained⟧{f' ({lowered})' if lowered else ''}"), Text("read only")]
        said += [Text(f"⟨✂ {cut}⟩")] if cut else []
    said = said[1:] if stage in ("rlvr", "eval") else said
    said += [Text("↵ line break", DIM)]
    said += [Text(f"token{_subscript(123)} its id", DIM)] if token_ids else []
    return Text("  ·  ", DIM).join(said)


def print_row(console: Console, row: Shown, *, token_ids: bool = False) -> None:
    """Print one row under a heading with its place and its counts."""
    _print(console, [Text.assemble((f"row {row.number:,}", "bold"), f"  {visible(row.place)}  ", (counts(row), DIM))])
    if row.why:
        _print(console, [Text(f"left out of training: {row.why}", "bold yellow")])
    if row.error:
        _print(console, [Text(f"cannot be shown: {visible(row.error)}", "bold red")])
    shown = {name: _lines(console, row, name, pieces, token_ids) for name, pieces in row.texts.items()}
    pair = [shown.pop(name) for name in ("chosen", "rejected") if name in shown]
    for lines in shown.values():
        _print(console, lines(console.width))
    if pair and console.is_terminal and console.width >= SIDE_BY_SIDE:
        _print(console, _beside(*[lines(console.width // 2 - 2) for lines in pair], width=console.width // 2))
    else:
        for lines in pair:
            _print(console, lines(console.width))
    if row.fields:
        _print(console, _fields(console, row.fields))
    _print(console, [Text()])


def counts(row: Shown) -> str:
    """``84 tokens, 31 trained``, and what else there is to say in a few words."""
    said = [f"{row.tokens:,} token{'s' * (row.tokens != 1)}"]
    said += [] if set(row.texts) == {"prompt"} else [f"{row.trained:,} trained"]
    said += [f"{row.cut:,} cut"] if row.cut else []
    said += [f"split into {row.rows} rows"] if row.rows > 1 else []
    said += [("👍" if row.label else "👎")] if row.label is not None else []
    return ", ".join(said) if row.texts else ""


def _lines(
    console: Console, row: Shown, name: str, pieces: Sequence[Piece], token_ids: bool
) -> Callable[[int], list[Text]]:
    """What gives the lines of one of the row's texts, once it is known how wide they may be."""
    style = LOWERED if name == "rejected" or row.label is False else TRAINED

    def lines(width: int) -> list[Text]:
        found = [Text(f"{name}:", "bold")] if name not in ("conversation", "prompt") else []
        for (_, part, role), turn in groupby(pieces, key=lambda piece: (piece.turn, piece.part, piece.role)):
            said = Text()
            for piece in turn:
                said += _said(piece, style, marked=not has_colours(console), token_ids=token_ids)
            head = f"{role} {part + 1}".rjust(_NUMBERED_GUTTER) if row.rows > 1 else role.rjust(_GUTTER)
            found += _in_gutter(console, head, said, width)
        return found

    return lines


def _said(piece: Piece, trained: Style, *, marked: bool, token_ids: bool) -> Text:
    said = Text()
    tokens = piece.tokens
    left = 0
    if piece.cut and len(piece.text) > _CUT_SHOWN and not token_ids:
        tokens = tokens[:60]
        left = len(piece.tokens) - len(tokens)
    base = CUT if piece.cut else trained if piece.trained else Style()
    runs = [(token.text, token.special, token.id) for token in tokens]
    if not token_ids:
        alike = groupby(tokens, key=lambda token: token.special)
        runs = [("".join(token.text for token in run), special, 0) for special, run in alike]
    for text, special, number in runs:
        style = base + SPECIAL if special and not piece.cut else base
        for line in visible(text).splitlines(keepends=True):
            said.append(line.removesuffix("\n"), style)
            if line.endswith("\n"):
                said.append("↵", DIM)
                said.append("" if token_ids else "\n")
        if token_ids:
            said.append(_subscript(number) + ("\n" if text.endswith("\n") else ""), DIM)
    if left:
        said.append(f" … {left:,} more tokens", DIM)
    if not marked or not (piece.trained or piece.cut):
        return said
    before, after = MARKS["cut" if piece.cut else "trained"]
    body = said.plain.rstrip("\n")
    return Text(before) + said[: len(body)] + Text(after) + said[len(body) :]


def _in_gutter(console: Console, head: str, said: Text, width: int) -> list[Text]:
    """The turn's lines, `head` to the left of the first."""
    said.rstrip()
    lines = list(said.split("\n"))
    if console.is_terminal:
        room = max(width - len(head) - 3, 20)
        lines = [part for line in lines for part in (line.wrap(console, room, overflow="fold") or [line])]
    heads = [head, *[" " * len(head)] * (len(lines) - 1)]
    return [Text.assemble((head, ROLE), (" │ ", DIM), line) for head, line in zip(heads, lines, strict=True)]


def _beside(left: list[Text], right: list[Text], *, width: int) -> list[Text]:
    rows = []
    for one, other in zip_longest(left, right, fillvalue=Text()):
        rows.append(one + Text(" " * max(width - cell_len(one.plain), 1)) + other)
    return rows


def _fields(console: Console, fields: Mapping[str, Any]) -> list[Text]:
    """What the grader reads, a line a field."""
    found = [Text("the grader reads:", "bold")]
    for name, value in fields.items():
        said = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
        more = f" … {len(said) - _FIELD_SHOWN:,} more characters" if len(said) > _FIELD_SHOWN else ""
        found += _in_gutter(
            console, " " * _GUTTER, Text(f"{visible(name)}: {visible(said[:_FIELD_SHOWN])}{more}"), console.width
        )
    return found


def _print(console: Console, lines: Sequence[Text] | Iterator[Text]) -> None:
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False, markup=False, emoji=False)


def _subscript(number: int) -> str:
    return str(number).translate({ord("0") + digit: chr(0x2080 + digit) for digit in range(10)})
