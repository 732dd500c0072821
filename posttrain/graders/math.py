"""Grader `math`: the completion's final answer is mathematically equal to the problem's, by math-verify.

Finding the answer is done here; only the comparison of two formulas goes to math-verify's processes.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from posttrain.errors import UserError
from posttrain.graders.answers import boxed, final_text, marked
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
from posttrain.graders.math_pool import WORKERS, MathError, equal

MAX_ANSWERS = 8
MAX_CHARACTERS = 1000
"""A longer formula is not an answer, and parsing it could take for ever."""


class MathSettings(GraderSettings):
    r"""The final answer equals `answer` as mathematics: ``\frac12`` is 0.5. Needs the extra `math`."""

    type: Literal["math"]
    timeout_seconds: float = Field(
        5.0, gt=0, allow_inf_nan=False, description="An answer that takes longer to compare is wrong."
    )


_FORMULA = re.compile(r"\$\$?([^$]+)\$\$?|\\\(((?:(?!\\[()]).)+)\\\)|\\\[((?:(?!\\[][]).)+)\\\]", re.DOTALL)
_NUMBER_AND_WORDS = re.compile(r"([-+$]{0,2}\d[\d.,/]*)(?:\s+[A-Za-z]{2,}){0,6}\W*$")
_BEGINS_FORMULA = re.compile(r"[-+(\[{\\\d.]|[A-Za-z]\s*[=^*/+-]")
_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:[.,/]\d+)*")
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{3}")


def make(settings: MathSettings, base_dir: Path) -> Grader:
    """Return the grader; it reads the problem's field `answer`. Raises UserError without math-verify."""
    if importlib.util.find_spec("math_verify") is None:
        raise UserError("the math grader needs math-verify", fix="pip install 'posttrain[math]'")

    def grade(completion: str, problem: Mapping[str, Any]) -> Grade:
        expected = gold_formula(problem)
        text = final_text(completion)
        if text is None:
            return verdict(False, "thinking never ended")
        found = final_formulas(text)
        if not found or len(found) > MAX_ANSWERS or max(map(len, found)) > MAX_CHARACTERS:
            return verdict(False, "no answer" if not found else "not an answer that can be read")
        try:
            equals = equal(in_dollars(expected), tuple(map(in_dollars, found)), settings.timeout_seconds)
        except MathError as error:
            return failure("other_error", f"{error}: {shortened(expected)}")
        if equals is None:
            return verdict(False, "timed out")
        if any(equals) and not all(equals):
            return verdict(False, "conflicting answers")
        return compared(found[0], expected, all(equals))

    def gold(problem: Mapping[str, Any]) -> str:
        return rf"\boxed{{{gold_formula(problem)}}}"

    return Grader(settings.name or settings.type, settings.weight, grade, gold, parallel=WORKERS)


def final_formulas(text: str) -> list[str]:
    """Return the distinct formulas that the text gives as its answer; all of them must be right.

    They are its boxes and marked formulas; without any of those its marked answers in words; without those
    its last formula, or else the last number of its last line, or that line.
    """
    text = text.replace(r"\$", "")
    spans = marked(text)
    formulas = [bare(box) for box in boxed(text)] + [_leading_formula(span) for span in spans]
    if not any(formulas):
        formulas = [_number_or_all(span) for span in spans]
    if not any(formulas):
        # Far more than an answer needs, and little enough for any regular expression.
        tail = text[-2 * MAX_CHARACTERS :].strip()
        matches = list(_FORMULA.finditer(tail))
        formulas = [bare(_inside(matches[-1])) if matches else _number_or_all(tail.rpartition("\n")[2])]
    return [formula for formula in dict.fromkeys(formulas) if formula]


def gold_formula(problem: Mapping[str, Any]) -> str:
    """Return the problem's answer as a bare formula, of a solution only the boxed or ``####`` end.

    Raises BadProblem when there is none, or when it is too long.
    """
    text = str(field(problem, "answer")).rpartition("####")[2]
    boxes = boxed(text)
    formula = bare(boxes[-1] if boxes else text)
    if not formula or len(formula) > MAX_CHARACTERS:
        raise BadProblem(f"the answer is not a formula: {shortened(text)!r}")
    return formula


def bare(text: str) -> str:
    r"""Return a formula without what surrounds it: ``$x$``, ``\(x\)``, ``\[x\]``, ``\$``, a final period."""
    text = text.replace(r"\$", "").strip().removesuffix(".")
    match = _FORMULA.fullmatch(text) if len(text) <= MAX_CHARACTERS else None
    return " ".join((_inside(match) if match else text.replace("$", "")).split())


def in_dollars(formula: str) -> str:
    """Return the formula as math-verify reads it: bare, most LaTeX parses to something else."""
    return f"${formula}$"


def _leading_formula(span: str) -> str:
    """Return the formula that a marked answer begins with, or an empty string if words come first."""
    span = span.lstrip("*_: ")
    if match := _FORMULA.match(span):
        return bare(_inside(match))
    if match := _NUMBER_AND_WORDS.match(span):
        return match[1]
    return bare(span) if _BEGINS_FORMULA.match(span) else ""


def _number_or_all(line: str) -> str:
    """Return the last number of a line of words, and any other line as it is."""
    numbers = _NUMBER.findall(line) if _WORD.search(line) else []
    return numbers[-1] if numbers else bare(line)


def _inside(match: re.Match[str]) -> str:
    return match[1] or match[2] or match[3]
