"""Grader `length`: the completion is neither too short nor too long, in words or characters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from posttrain.graders.answers import final_text
from posttrain.graders.grade import Grade, Grader, GraderSettings, Role, verdict

UNITS: dict[str, Callable[[str], int]] = {"words": lambda text: len(text.split()), "characters": len}


class LengthSettings(GraderSettings):
    """The completion has between `at_least` and `at_most` words (or characters). It is shown, and not paid."""

    type: Literal["length"]
    role: Role = Field(
        "log",
        description="log: shown apart. gate: what is too long or too short is paid nothing. score: it pays, and an "
        "answer of the right length that says nothing is paid too.",
    )
    unit: Literal["words", "characters"] = Field(
        "words", description="What is counted. A grader does not see tokens; words are split at white space."
    )
    at_least: int = Field(0, ge=0, description="Fewer do not pass.")
    at_most: int | None = Field(None, ge=1, description="More do not pass.")
    soft: int = Field(
        0,
        ge=0,
        description="The score falls from 1 to 0 over the last so many units before a limit, in place of at it.",
    )
    thinking: bool = Field(False, description="Count the thinking too.")

    @model_validator(mode="after")
    def _has_a_limit(self) -> LengthSettings:
        if not self.at_least and self.at_most is None:
            raise ValueError("length needs at_least or at_most")
        if self.at_most is not None and self.at_least + self.soft * (2 if self.at_least else 1) > self.at_most:
            raise ValueError("no length can have full marks: at_most is too near to at_least, or soft too large")
        return self


def make(settings: LengthSettings, base_dir: Path) -> Grader:
    """Return the grader; it reads no field of the problem."""
    count = UNITS[settings.unit]

    def grade(completion: str, problem: Mapping[str, Any]) -> Grade:
        text = completion if settings.thinking else final_text(completion)
        if text is None:
            return verdict(False, "thinking never ended")
        length = count(text)
        score = score_of(length, settings.at_least, settings.at_most, settings.soft)
        return Grade(score, score > 0, f"{length} {settings.unit}")

    return Grader(settings.name or settings.type, settings.weight, grade, gold=lambda problem: None)


def score_of(length: int, at_least: int, at_most: int | None, soft: int) -> float:
    """Return 1 for a length well within the limits, 0 beyond them, and what is between on the slope before each.

    The upper slope is DAPO's soft overlong punishment plus 1 (Yu et al. 2025, arXiv 2503.14476, Eq. 13, with
    L_max = at_most and L_cache = soft); the lower one mirrors it.
    """
    room = [length - at_least] if at_least else []
    room += [at_most - length] if at_most is not None else []
    if min(room) < 0:
        return 0.0
    return min(1.0, min(room) / soft) if soft else 1.0
