"""Rows as one HTML page that needs no network: a list to filter and sort, and the row that is read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any

from posttrain.inspection.opened import Opened
from posttrain.inspection.row import Piece, Shown
from posttrain.pages.write import render
from posttrain.runs.whole import write_text
from posttrain.visible import visible

_TRAINED, _CUT, _SPECIAL = 1, 2, 4  # bits of a span's kind, as rows.html.j2 reads them


def write_page(path: Path, opened: Opened, rows: Iterable[Shown], how: str, *, token_ids: bool = False) -> None:
    """Write `rows`, which `how` says the choice of in words, to `path`, whole or not at all.

    The rows are JSON inside the page, in which nothing can close the script or be read as HTML.
    """
    found = [_row(row, token_ids) for row in rows]
    text = render(
        "posttrain.inspection",
        "rows.html.j2",
        name=visible(opened.name),
        stage=opened.stage,
        part=opened.part,
        model=opened.parent.name,
        limit=opened.settings.get("max_length"),
        how=visible(how),
        written=datetime.now().strftime("%Y-%m-%d %H:%M"),
        rows=found,
    )
    write_text(path, text)


def _row(row: Shown, token_ids: bool) -> dict[str, Any]:
    return {
        "number": row.number,
        "place": visible(row.place),
        "tokens": row.tokens,
        "trained": row.trained,
        "cut": row.cut,
        "rows": row.rows,
        "why": row.why,
        "error": row.error and visible(row.error),
        "label": row.label,
        "fields": {visible(name): visible(_as_text(value)) for name, value in row.fields.items()},
        "texts": {name: _turns(pieces, token_ids) for name, pieces in row.texts.items()},
    }


def _turns(pieces: Sequence[Piece], token_ids: bool) -> list[list[Any]]:
    """``[role, part, spans]`` of each turn; a span is ``[kind, text]``, or ``[kind, text, id]`` of one token."""
    return [
        [role, part, [span for piece in turn for span in _spans(piece, token_ids)]]
        for (_, role, part), turn in groupby(pieces, key=lambda piece: (piece.turn, piece.role, piece.part))
    ]


def _spans(piece: Piece, token_ids: bool) -> list[list[Any]]:
    kind = _TRAINED * piece.trained + _CUT * piece.cut
    if token_ids:
        return [[kind + _SPECIAL * token.special, visible(token.text), token.id] for token in piece.tokens]
    return [
        [kind + _SPECIAL * special, visible("".join(token.text for token in alike))]
        for special, alike in groupby(piece.tokens, key=lambda token: token.special)
    ]


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
