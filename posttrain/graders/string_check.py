"""Grader `string_check`: OpenAI's. A text equals another one or contains it, exactly."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from posttrain.graders.grade import BadProblem, Grade, Grader, shortened, verdict
from posttrain.graders.pair import PairSettings, both_texts, gold_texts

_HOLDS: dict[str, Callable[[str, str], bool]] = {
    "eq": lambda text, reference: text == reference,
    "ne": lambda text, reference: text != reference,
    "neq": lambda text, reference: text != reference,
    "like": lambda text, reference: reference in text,
    "ilike": lambda text, reference: reference.casefold() in text.casefold(),
}
_CONTAINS = ("like", "ilike")


class StringCheckSettings(PairSettings):
    """OpenAI's string check: 1 if the operation holds for the two texts, else 0."""

    type: Literal["string_check"]
    operation: Literal["eq", "ne", "neq", "like", "ilike"] = Field(
        description="eq: the texts are equal. ne (or neq): they are not. like: the input contains the reference. "
        "ilike: the same, upper and lower case taken as equal. There are no wildcards."
    )


def make(settings: StringCheckSettings, base_dir: Path) -> Grader:
    """Return the grader; it reads what its templates name."""
    holds, contains = _HOLDS[settings.operation], settings.operation in _CONTAINS

    def grade(completion: str, problem: Mapping[str, Any]) -> Grade:
        text, reference = both_texts(settings, completion, problem)
        if text is None:
            return verdict(False, reference)
        refuse_empty(reference)
        if holds(text, reference):
            return verdict(True, "", text)
        note = f"{shortened(text)!r} {settings.operation} {shortened(reference)!r} does not hold"
        if settings.operation == "eq" and text.split() == reference.split():
            note += ": the white space differs"
        return verdict(False, note, text)

    def gold(problem: Mapping[str, Any]) -> str | None:
        made = gold_texts(settings, problem)
        if made is None:
            return None
        refuse_empty(made[1])
        return None if settings.operation in ("ne", "neq") else made[0]

    def refuse_empty(reference: str) -> None:
        if contains and not reference:
            raise BadProblem("the reference is empty, and every text contains that")

    caution = f"a completion that lists every answer contains the right one too; prefer eq to {settings.operation}"
    return Grader(settings.name or settings.type, settings.weight, grade, gold, caution=caution if contains else "")
