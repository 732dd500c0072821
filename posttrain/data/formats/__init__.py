"""The row formats: one small function each from a raw row to a record, in one table a stage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from posttrain.data.formats import chat, feedback, preference, problem
from posttrain.data.formats.format import Format
from posttrain.errors import UserError, brief, did_you_mean, listed

FORMATS: dict[str, dict[str, Format]] = {
    "sft": chat.FORMATS,
    "dpo": preference.FORMATS,
    "kto": feedback.FORMATS,
    "rlvr": problem.FORMATS,
    "eval": problem.FORMATS,
}

COLUMNS: dict[str, list[str]] = {
    "sft": ["messages", "conversations", "prompt", "completion", "instruction", "input", "context", "output",
            "response", "history", "system", "tools"],
    "dpo": ["prompt", "messages", "conversations", "chosen", "rejected", "input", "preferred_output",
            "non_preferred_output", "system", "tools"],
    "kto": ["prompt", "completion", "response", "messages", "conversations", "label", "system", "tools"],
}  # fmt: skip


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
    columns = listed(row) or "none"
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


def name_of_format(format: Format, stage: str) -> str:
    """What the stage calls the format."""
    return next(name for name, each in FORMATS[stage].items() if each is format)


def refuse_other_format(row: Mapping[str, Any], stage: str, name: str, place: str) -> None:
    """Raise UserError at `place` where the row, of a source whose first row is of format `name`, fits another one."""
    others = [key for key, format in FORMATS[stage].items() if key != name and format.fits(row)]
    if others:
        both = FORMATS[stage][name].fits(row)
        raise UserError(
            f"the row fits {', '.join(others)}{' too' if both else ''}, and the first row {name} "
            f"(columns: {listed(row)})",
            where=place,
            fix=f"Say `format: {name}` to read all rows so." if both else "Give each format a source of its own.",
        )


def check_columns(columns: Mapping[str, str], stage: str, where: str | None, group: str | None = None) -> None:
    """Raise UserError at `where` for a name of ours in a source's `columns` that no format of the stage reads.

    `group` is one more that is read. Problems have no such names: a grader may read any.
    """
    known = COLUMNS.get(stage)
    for ours in columns:
        if known is not None and ours not in known and ours != group:
            raise UserError(
                f"columns: {stage} reads no column {brief(ours)}.{did_you_mean(ours, known)}",
                where=where,
                fix=f"`columns` is {{ours: theirs}}. Ours: {', '.join(known)}.",
            )


def rename_columns(row: dict[str, Any], columns: Mapping[str, str], place: str) -> dict[str, Any]:
    """`row` with its columns renamed by `columns` (our name: the row's). Raises UserError for one it lacks.

    The columns of an OpenAI Evals row are those inside its ``item``.
    """
    if not columns:
        return row
    if isinstance(row.get("item"), dict) and not any(name in row for name in columns.values()):
        return row | {"item": rename_columns(row["item"], columns, place)}
    missing = [theirs for theirs in columns.values() if theirs not in row]
    if missing:
        raise UserError(
            f"the row has no column {brief(missing[0])}.{did_you_mean(missing[0], row)}",
            where=place,
            fix=f"Its columns: {listed(row)}.",
        )
    kept = {key: value for key, value in row.items() if key not in columns.values()}
    return kept | {ours: row[theirs] for ours, theirs in columns.items()}
