"""Grader `string`: the completion is, or contains, one of the problem's answers."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from posttrain.graders.answers import final_text
from posttrain.graders.grade import BadProblem, Grade, Grader, GraderSettings, compared, field, verdict


class StringSettings(GraderSettings):
    """The completion equals, or contains, `answer`: a text or a list of texts, of which one is enough."""

    type: Literal["string"]
    mode: Literal["equals", "contains"] = Field(
        "equals",
        description="Whether the completion must be the answer or only contain it. A completion that lists "
        "every possible answer contains the right one too: for training prefer equals.",
    )
    after: str = Field(
        "", description="Compare only what follows this marker on its line; without the marker no answer."
    )
    strip: bool = Field(True, description="Leave out white space around the texts.")
    ignore_case: bool = Field(False, description="Take upper and lower case as equal.")
    ignore_punctuation: bool = Field(False, description="Leave out punctuation, and extra spaces.")


def make(settings: StringSettings, base_dir: Path) -> Grader:
    """Return the grader; it reads the problem's field `answer`."""

    def golds(problem: Mapping[str, Any]) -> list[str]:
        answers = field(problem, "answer")
        texts = [str(answer) for answer in (answers if isinstance(answers, list) else [answers])]
        if not texts or not all(normalized(text, settings) for text in texts):
            raise BadProblem("the answer is empty")
        return texts

    def grade(completion: str, problem: Mapping[str, Any]) -> Grade:
        expected = golds(problem)
        text, note = _answer(completion, settings)
        if text is None:
            return verdict(False, note)
        wanted = [normalized(gold, settings) for gold in expected]
        passed = text in wanted if settings.mode == "equals" else any(gold in text for gold in wanted)
        return compared(text, " | ".join(expected), passed)

    def gold(problem: Mapping[str, Any]) -> str:
        return settings.after + golds(problem)[0]

    caution = "a completion that lists every answer contains the right one too; in training prefer mode: equals"
    contains = settings.mode == "contains"
    return Grader(settings.name or settings.type, settings.weight, grade, gold, caution=caution if contains else "")


def normalized(text: str, settings: StringSettings) -> str:
    """Return the text as it is compared: composed Unicode, and whatever the settings leave out left out."""
    text = unicodedata.normalize("NFC", text)
    if settings.ignore_case:
        text = text.casefold()
    if settings.ignore_punctuation:
        text = "".join(c for c in text if not unicodedata.category(c).startswith("P"))
        text = " ".join(text.split())
    return text.strip() if settings.strip else text


def _answer(completion: str, settings: StringSettings) -> tuple[str | None, str]:
    """Return the completion's normalized answer, or None and why there is none."""
    text = final_text(completion)
    if text is None:
        return None, "thinking never ended"
    if not settings.after:
        return normalized(text, settings), ""
    spans = text.split(settings.after)[1:]
    found = {normalized(span.partition("\n")[0], settings) for span in spans}
    if len(found) == 1:
        return found.pop(), ""
    return None, "conflicting answers" if found else f"no {settings.after!r} in it"
