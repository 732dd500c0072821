"""For which stage a source's rows are, by the columns of its first row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from posttrain.data.formats import FORMATS, rename_columns
from posttrain.data.read import read_rows
from posttrain.errors import UserError, did_you_mean
from posttrain.recipe.schema import Source

# A row may fit several stages: pairs and thumbs are for nothing else, and a row with an answer to imitate is more
# often meant to be imitated than graded.
_STAGES = ("dpo", "kto", "sft", "rlvr")


def stage_of(stage: str | None, source: Source) -> tuple[str, list[str]]:
    """What the source's rows are for, and a line that says so where it was found from their columns."""
    if stage is None:
        found, note = find_stage(source)
        return found, [note]
    if stage not in FORMATS:
        raise UserError(f"no stage {stage!r}.{did_you_mean(stage, FORMATS)}", where="--stage", fix=", ".join(FORMATS))
    return stage, []


def find_stage(source: Source) -> tuple[str, str]:
    """The stage that the source's first row is for, and a line that says so. Raises UserError where there is none."""
    raw, place = next(iter(read_rows(source.path, subset=source.subset, split=source.split, revision=source.revision)))
    row = rename_columns(raw, source.columns, place)
    errors: list[UserError] = []
    fitting = [stage for stage in _STAGES if _fits(row, stage, source.format, place, errors)]
    if not fitting:
        if errors:
            raise errors[0]
        raise UserError(
            f"the row fits no stage's format (columns: {', '.join(map(str, row)) or 'none'})",
            where=place,
            fix="Rename its columns: --columns ours=theirs. `posttrain data formats` lists what each stage reads.",
        )
    stage, *others = fitting
    # Every pair and thumb has a prompt, which alone is a problem: that says nothing.
    other = next((name for name in others if (stage, name) in (("kto", "sft"), ("sft", "rlvr"))), None)
    return stage, f"stage: {stage}, from the columns" + (f"; --stage {other} would read them too" if other else "")


def _fits(row: Mapping[str, Any], stage: str, name: str, place: str, errors: list[UserError]) -> bool:
    """Whether some format of the stage reads the row; what kept those that fit by their columns goes to `errors`."""
    if stage == "kto" and row.get("label") is None:
        return False  # its formats fit by the other columns, so that the error can name the label
    listed = {key: format for key, format in FORMATS[stage].items() if name in ("auto", key)}
    for format in listed.values():
        if not format.fits(row):
            continue
        try:
            format.read(row, place)
            return True
        except UserError as error:
            errors.append(error)
    return False
