"""Grader `repetition`: how much of the completion says again what it has said, in n-grams."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from posttrain.graders.answers import final_text
from posttrain.graders.grade import Grade, Grader, GraderSettings, Role, verdict

UNITS: dict[str, Callable[[str], Sequence[str]]] = {"words": str.split, "characters": lambda text: text}


class RepetitionSettings(GraderSettings):
    """At most a share of the completion's n-grams are repetitions. It is shown, and not paid."""

    type: Literal["repetition"]
    role: Role = Field(
        "log",
        description="log: shown apart. gate: what repeats too much is paid nothing. score: it pays, and an answer "
        "that says nothing repeats nothing.",
    )
    unit: Literal["words", "characters"] = Field(
        "words", description="What n-grams are made of: words between white space, or characters (with a larger n)."
    )
    n: int = Field(4, ge=1, le=100, description="Units in an n-gram.")
    at_most: float = Field(0.5, ge=0, lt=1, description="A larger share of repeated n-grams does not pass.")
    thinking: bool = Field(True, description="Look at the thinking too: that is where models go round in circles.")


def make(settings: RepetitionSettings, base_dir: Path) -> Grader:
    """Return the grader; it reads no field of the problem. Its score is 1 - the share that is repeated."""
    units = UNITS[settings.unit]

    def grade(completion: str, problem: Mapping[str, Any]) -> Grade:
        text = completion if settings.thinking else final_text(completion)
        if text is None:
            return verdict(False, "thinking never ended")
        share = repeated_share(units(text.lower()), settings.n)
        return Grade(1.0 - share, share <= settings.at_most, f"{100 * share:.0f}% repeated")

    return Grader(settings.name or settings.type, settings.weight, grade, gold=lambda problem: None)


def repeated_share(units: Sequence[str], n: int) -> float:
    """Return the share of n-grams that are not the first of their kind, 1 - distinct / all; 0 without any.

    It is the repetition penalty of Yeo et al. 2025 (arXiv 2502.03373, appendix C.2) without its scale.
    """
    total = len(units) - n + 1
    if total < 1:
        return 0.0
    distinct = len({tuple(units[start : start + n]) for start in range(total)})
    return (total - distinct) / total
