"""Grader `score_model`: another model gives the score. OpenAI's JSON, asked of any endpoint."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from posttrain.graders.grade import Grade, Grader, failure, shortened
from posttrain.graders.judge import JudgeSettings, make_judge
from posttrain.graders.judge_reply import read_score

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"score": {"type": "number"}},
    "required": ["score"],
    "additionalProperties": False,
}


class ScoreModelSettings(JudgeSettings):
    """A judge model's score, in a range of your own. OpenAI's `score_model`. Needs the extra `endpoint`."""

    type: Literal["score_model"]
    range: list[float] = Field(
        [0.0, 1.0], min_length=2, max_length=2, description="Lowest and highest score. One outside is an error."
    )
    pass_threshold: float | None = Field(
        None, description="A score at least this high has passed; absent: only the highest has."
    )

    @model_validator(mode="after")
    def _threshold_is_in_the_range(self) -> ScoreModelSettings:
        low, high = self.range
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError("range must be the lowest and the highest score, as [0, 5]")
        if self.pass_threshold is not None and not low <= self.pass_threshold <= high:
            raise ValueError(f"pass_threshold {self.pass_threshold:g} is outside the range {low:g} to {high:g}")
        return self


def make(settings: ScoreModelSettings, base_dir: Path) -> Grader:
    """Return the grader; it reads the problem's fields that the templates name. Raises UserError without a judge."""
    low, high = settings.range
    threshold = high if settings.pass_threshold is None else settings.pass_threshold

    def read(reply: str) -> float | Grade:
        score = read_score(reply, low, high)
        if isinstance(score, str):
            return failure("model_grader_parse_error", f"{score}: {shortened(reply)!r}")
        return score

    def settle(scores: list[float]) -> Grade:
        mean = math.fsum(scores) / len(scores)
        return Grade(mean, mean >= threshold)

    return make_judge(settings, SCHEMA, low, read, settle)
