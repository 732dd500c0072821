"""The row formats: one small function each from a raw row to a record, in one table a stage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from posttrain.data.formats import chat, feedback, preference, problem
from posttrain.data.formats.format import Format
from posttrain.errors import UserError, did_you_mean

FORMATS: dict[str, dict[str, Format]] = {
    "sft": chat.FORMATS,
    "dpo": preference.FORMATS,
    "kto": feedback.FORMATS,
    "rlvr": problem.FORMATS,
    "eval": problem.FORMATS,
}


def choose_format(row: Mapping[str, Any], stage: str, name: str, place: str, where: str | None = None) -> Format:
    """The format called `name`, or with ``auto`` the only one of the stage's that `row` fits.

    Raises UserError: at `where` (the recipe) for an unknown name, at `place` (the row) when none or
    several fit.
    """
    formats = FORMATS[stage]
    if name != "auto":
        if name not in formats:
            raise UserError(
                f"unknown format {name!r}.{did_you_mean(name, formats)}",
                where=where,
                fix=f"{stage} reads: auto, {', '.join(formats)}.",
            )
        return formats[name]
    fitting = {key: format for key, format in formats.items() if format.fits(row)}
    if len(fitting) == 1:
        return next(iter(fitting.values()))
    columns = ", ".join(map(str, row)) or "none"
    if fitting:
        raise UserError(
            f"the row fits several formats: {', '.join(fitting)} (columns: {columns})",
            where=place,
            fix=f"Add `format: {next(iter(fitting))}` (or another of them) to the source.",
        )
    raise UserError(
        f"the row fits no {stage} format (columns: {columns})",
        where=place,
        fix="Map its columns, e.g. `columns: {ours: theirs}`. "
        + f"{stage} reads: "
        + "; ".join(f"{key} ({format.needs})" for key, format in formats.items()),
    )


def rename_columns(row: dict[str, Any], columns: Mapping[str, str], place: str) -> dict[str, Any]:
    """`row` with its columns renamed by `columns` (our name: the row's). Raises UserError for one it lacks.

    The columns of an OpenAI Evals row are those inside its ``item``.
    """
    if columns and isinstance(row.get("item"), dict) and not any(name in row for name in columns.values()):
        return row | {"item": rename_columns(row["item"], columns, place)}
    missing = [theirs for theirs in columns.values() if theirs not in row]
    if missing:
        raise UserError(
            f"the row has no column {missing[0]!r}.{did_you_mean(missing[0], row)}",
            where=place,
            fix=f"Its columns: {', '.join(map(str, row))}.",
        )
    kept = {key: value for key, value in row.items() if key not in columns.values()}
    return kept | {ours: row[theirs] for ours, theirs in columns.items()}
