"""Grader `pattern`: a regular expression of the user's is found in the completion."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from posttrain.graders.answers import final_text
from posttrain.graders.grade import Grade, Grader, GraderSettings, compared, failure, field, verdict


class PatternSettings(GraderSettings):
    """`pattern` is found; what its group `answer` holds, if it has one, equals the problem's `answer`."""

    type: Literal["pattern"]
    pattern: str = Field(
        description="Regular expression, searched for anywhere: anchor it with ^ and $, set flags as (?is). "
        "With a group (?P<answer>...) every match must hold the problem's answer; without one a match passes."
    )
    thinking: bool = Field(False, description="Search the thinking text too, for patterns about the format.")
    timeout_seconds: float = Field(
        2.0, gt=0, allow_inf_nan=False, description="A search that takes longer is a grader error."
    )

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        import regex

        try:
            regex.compile(pattern)
        except regex.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        return pattern


def make(settings: PatternSettings, base_dir: Path) -> Grader:
    """Return the grader; it reads the problem's `answer` only if the pattern has a group of that name."""
    # Not `re`: a pattern that backtracks without end must stop, also outside the main thread.
    import regex

    pattern = regex.compile(settings.pattern)
    compares = "answer" in pattern.groupindex

    def grade(completion: str, problem: Mapping[str, Any]) -> Grade:
        expected = str(field(problem, "answer")).strip() if compares else ""
        text = completion if settings.thinking else final_text(completion)
        if text is None:
            return verdict(False, "thinking never ended")
        try:
            if not compares:
                found = pattern.search(text, timeout=settings.timeout_seconds) is not None
                return verdict(found, "" if found else "no match")
            matches = pattern.finditer(text, timeout=settings.timeout_seconds)
            answers = {(match["answer"] or "").strip() for match in matches}
        except TimeoutError:
            return failure("other_error", f"the pattern took longer than {settings.timeout_seconds:g} seconds")
        if len(answers) != 1:
            return verdict(False, "conflicting answers" if answers else "no match")
        answer = answers.pop()
        return compared(answer, expected, answer == expected)

    def gold(problem: Mapping[str, Any]) -> None:
        if compares:
            field(problem, "answer")

    return Grader(settings.name or settings.type, settings.weight, grade, gold)
