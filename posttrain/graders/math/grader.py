"""Grader `math`: the completion's final answer is mathematically equal to the problem's.

Finding the answer is done here, and so is comparing equal texts and plain numbers; everything else goes to processes
that can be stopped (`pool`).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from posttrain.errors import UserError
from posttrain.graders.answers import final_text
from posttrain.graders.choice import final_letter
from posttrain.graders.grade import (
    BadProblem,
    Grade,
    Grader,
    GraderSettings,
    compared,
    failure,
    field,
    shortened,
    verdict,
)
from posttrain.graders.math.answer import MAX_CHARACTERS, final_formulas, gold_formula
from posttrain.graders.math.equality import begins_with_variable, option, quickly_equal
from posttrain.graders.math.notation import DOLLAR, plain
from posttrain.graders.math.pool import WORKERS, MathError, Verdict, compare

MAX_ANSWERS = 8


class MathSettings(GraderSettings):
    r"""The final answer equals `answer` as mathematics: ``\frac12`` is 0.5. Needs the extra `math`."""

    type: Literal["math"]
    timeout_seconds: float = Field(
        5.0, gt=0, allow_inf_nan=False, description="An answer that takes more processor time to compare is wrong."
    )


def make(settings: MathSettings, base_dir: Path) -> Grader:
    """Return the grader; it reads the problem's field `answer`. Raises UserError without math-verify."""
    if importlib.util.find_spec("math_verify") is None:
        raise UserError("the math grader needs math-verify", fix="pip install 'posttrain[math]'")
    seconds = settings.timeout_seconds

    def grade(completion: str, problem: Mapping[str, Any]) -> Grade:
        expected = _gold(problem)
        text = final_text(completion)
        if text is None:
            return verdict(False, "thinking never ended")
        found = final_formulas(text)
        if (letter := option(expected)) and not any(map(begins_with_variable, found)):
            named, note = final_letter(text)
            return compared(named, letter, named == letter) if named else verdict(False, note)
        if not found or len(found) > MAX_ANSWERS or max(map(len, found)) > MAX_CHARACTERS:
            return verdict(False, "no answer" if not found else "not an answer that can be read")
        try:
            require_readable(expected, seconds)
            verdicts = [compared_formulas(expected, formula, seconds) for formula in found]
            if len(found) > 1 and "equal" not in verdicts:
                # several boxes may hold the members of one list
                verdicts = [compared_formulas(expected, ", ".join(found), seconds)]
        except MathError as error:
            return failure("other_error", f"{error}: {shortened(expected)}")
        if "equal" in verdicts and set(verdicts) != {"equal"}:
            return verdict(False, "conflicting answers")
        for note in ("timed out", "unreadable"):
            if note in verdicts:
                return verdict(False, "not an answer that can be read" if note == "unreadable" else note)
        return compared(shown(found[0]), shown(expected), "equal" in verdicts)

    def gold(problem: Mapping[str, Any]) -> str:
        expected = _gold(problem)
        try:
            require_readable(expected, seconds)
        except MathError as error:
            raise BadProblem(f"the answer could not be read: {error}") from None
        return rf"\boxed{{{expected}}}".replace(DOLLAR, r"\$")

    return Grader(settings.name or settings.type, settings.weight, grade, gold, parallel=WORKERS)


@lru_cache(maxsize=1 << 14)
def require_readable(gold: str, seconds: float) -> None:
    """Raise BadProblem for a gold that cannot be read or evaluated, and MathError if that could not be found out."""
    outcome = "equal" if option(gold) or quickly_equal(gold, "0") is not None else compare(gold, None, seconds)
    if outcome != "equal":
        why = f"takes longer than {seconds:g} seconds" if outcome == "timed out" else "cannot be read"
        raise BadProblem(f"the answer {why}: {shortened(gold)!r}")


def compared_formulas(gold: str, answer: str, seconds: float) -> Verdict:
    """Return the verdict on one answer. Raises MathError."""
    quick = quickly_equal(gold, answer)
    if quick is None:
        return compare(gold, answer, seconds)
    return "equal" if quick else "different"


def shown(formula: str) -> str:
    """Return a formula as samples show it, in plain notation."""
    return plain(formula).replace(DOLLAR, r"\$")


def _gold(problem: Mapping[str, Any]) -> str:
    answer = str(field(problem, "answer"))
    formula = gold_formula(answer)
    if not formula or len(formula) > MAX_CHARACTERS:
        raise BadProblem(f"the answer is not a formula: {shortened(answer)!r}")
    return formula
