"""The shapes that records can be written in: one small function each from a record to a row, in one table."""

from __future__ import annotations

from typing import Any

from posttrain.curation.shapes import alpaca, canonical, openai, sharegpt, trl
from posttrain.curation.shapes.shape import Shape, Unfit
from posttrain.data.formats import FORMATS
from posttrain.data.records import Record
from posttrain.errors import UserError, did_you_mean

# shape: the shape of each stage that has it
SHAPES: dict[str, dict[str, Shape]] = {
    "canonical": canonical.SHAPES,
    "trl": trl.SHAPES,
    "prompt_completion": trl.PROMPT_COMPLETION,
    "openai": openai.SHAPES,
    "openai_evals": openai.EVALS,
    "sharegpt": sharegpt.SHAPES,
    "alpaca": alpaca.SHAPES,
}


def choose_shape(name: str, stage: str) -> Shape:
    """The shape called `name` of the stage's records. Raises UserError where there is none."""
    if name not in SHAPES:
        raise UserError(f"no shape {name!r}.{did_you_mean(name, SHAPES)}", where="--to", fix=", ".join(SHAPES))
    stage = "rlvr" if stage == "eval" else stage
    if stage not in SHAPES[name]:
        able = [each for each, of_stage in SHAPES.items() if stage in of_stage]
        raise UserError(f"{name} has no rows for {stage}", where="--to", fix=f"These have: {', '.join(able)}.")
    return SHAPES[name][stage]


def write_row(record: Record, shape: Shape, stage: str) -> dict[str, Any]:
    """`record` in the shape, as a row that reads back as the same record; it is read back to see.

    Raises Unfit, with the reason, where the shape cannot say all that the record says.
    """
    record = shape.normal(record)
    row = shape.write(record)
    try:
        same = FORMATS[stage][shape.reads].read(row, record.place) == record
    except UserError as error:
        raise Unfit(f"would not be read back: {error.message}") from error
    if not same:
        raise Unfit("would be read back as something else")
    return row
