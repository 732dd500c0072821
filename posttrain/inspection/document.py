"""Rows as plain JSON values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from posttrain.inspection.opened import Opened
from posttrain.inspection.row import Piece, Shown


def as_document(opened: Opened, rows: Sequence[Shown], choice: int) -> dict[str, Any]:
    """What was opened, and the `rows` that were chosen from so many, `choice`."""
    return {
        "source": opened.name,
        "stage": opened.stage,
        "part": opened.part,
        "model": opened.parent.name,
        "settings": opened.settings,
        "total": len(opened.records),
        "chosen_from": choice,
        "notes": opened.notes,
        "rows": [_row(row) for row in rows],
    }


def _row(row: Shown) -> dict[str, Any]:
    found: dict[str, Any] = {
        "number": row.number,
        "place": row.place,
        "tokens": row.tokens,
        "trained": row.trained,
        "cut": row.cut,
        "training_rows": row.rows,
        "left_out": row.why,
        "error": row.error,
        "texts": {name: [_piece(piece) for piece in pieces] for name, pieces in row.texts.items()},
    }
    if row.label is not None:
        found["label"] = row.label
    return found | ({"fields": row.fields} if row.fields else {})


def _piece(piece: Piece) -> dict[str, Any]:
    return {
        "turn": piece.turn,
        "role": piece.role,
        "trained": piece.trained,
        "cut": piece.cut,
        "part": piece.part,
        "text": piece.text,
        "ids": [token.id for token in piece.tokens],
    }
