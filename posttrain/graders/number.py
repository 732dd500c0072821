"""Grader `number`: the completion's final number equals the problem's, exactly or within a tolerance."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from posttrain.graders.answers import answer_spans, final_text
from posttrain.graders.grade import (
    BadProblem,
    Grade,
    Grader,
    GraderSettings,
    compared,
    field,
    shortened,
    verdict,
)

MAX_DIGITS = 400
"""Longer numbers and larger exponents are not read: exact arithmetic on them could take for ever."""


class NumberSettings(GraderSettings):
    """The final number of the completion equals `answer`."""

    type: Literal["number"]
    tolerance: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="Largest absolute difference that still counts as equal."
    )


_DIGITS = r"(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)"
_NUMBER = re.compile(
    rf"(?:(?<![\w)])-)?(?<![\w.])(?:(?P<whole>\d+)\s)?(?P<top>\d+)\s?/\s?(?P<bottom>\d+)(?![\d.,]*\d)"
    rf"|(?:(?<![\w)])-)?(?<![\w.]){_DIGITS}(?:[eE][-+]?\d+(?!\w))?"
)
# What may join two numbers into a list or an expression, which is then not one number; "=" starts a new one.
# Units may stand between: "15 gallons * 8 pints / gallon = 120".
_JOIN = re.compile(
    r"[^\d=≈.,;(\n]{0,40}[=≈]\s*"
    r"|\s*(?:[,;&-]|\^|\\times|\\cdot|or\b|and\b|to\b|(?=-))\s*"
    r"|(?:\s*[A-Za-z]+){0,2}\s*[+*/\u00d7\u00f7]\s*"
)
_LEAD = re.compile(r"[^\w.+-]*(?:[A-Za-z]\w*\s*[=≈][^\w.+-]*)?\+?")
_FRACTION = re.compile(r"\\[dt]?frac\s?(?:\{\s?(-?\d+)\s?\}\s?\{\s?(\d+)\s?\}|(\d)(\d))")
_REPLACED = (
    (re.compile(r"<<[^<>]*>>"), ""),  # GSM8K's calculator annotations
    (re.compile(r"[\u2212\u2013\ufe63\uff0d]"), "-"),
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"\\[,!;: ]"), ""),
    (re.compile(r"\\(?=[$%])"), ""),
    (re.compile(r"(-?)[$£€¥₹]"), r" \1"),
)


def make(settings: NumberSettings, base_dir: Path) -> Grader:
    """Return the grader; it reads the problem's field `answer`."""
    tolerance = Fraction(str(settings.tolerance))

    def grade(completion: str, problem: Mapping[str, Any]) -> Grade:
        gold = gold_number(field(problem, "answer"))
        text = final_text(completion)
        if text is None:
            return verdict(False, "thinking never ended")
        number, note = final_number(text)
        if number is None:
            return verdict(False, note)
        return compared(rendered(number), rendered(gold), abs(number - gold) <= tolerance)

    def gold(problem: Mapping[str, Any]) -> str:
        return f"#### {rendered(gold_number(field(problem, 'answer')))}"

    return Grader(settings.name or settings.type, settings.weight, grade, gold)


def final_number(text: str) -> tuple[Fraction | None, str]:
    """Return the number that the text gives as its answer, or None and why there is none.

    Where answers are marked (``####``, a box, "the answer is"), all of them must be one and the same number;
    where none is marked it is the last number of the text.
    """
    text = plain(text)
    readings = [found for span in answer_spans(text) if (found := _marked_numbers(span))]
    if not readings:
        last = deque(_NUMBER.finditer(text), maxlen=1)
        readings = [[_value(match)] for match in last]
    if not readings:
        return None, "no number"
    numbers = {number for reading in readings for number in reading}
    if len(numbers) > 1:
        return None, "conflicting answers"
    number = numbers.pop()
    return number, "" if number is not None else "not a number that can be read"


def gold_number(value: object) -> Fraction:
    """Return the number of a problem's answer: a number, its text, or a solution that ends in ``#### 72``.

    Raises BadProblem for anything else.
    """
    text = plain(str(value))
    tail = re.split(r"####|^A:", text, flags=re.MULTILINE)[-1].strip(" \n\t.%")
    match = None if isinstance(value, bool) else _NUMBER.fullmatch(tail.removeprefix("+"))
    number = _value(match) if match else None
    if number is None:
        raise BadProblem(f"the answer is not a number: {shortened(str(value))!r}")
    return number


def plain(text: str) -> str:
    """Return the text with currency, LaTeX spacing and fractions, and unusual minus signs made plain."""
    for pattern, replacement in _REPLACED:
        text = pattern.sub(replacement, text)
    return _FRACTION.sub(lambda match: f" {match[1] or match[3]}/{match[2] or match[4]}", text)


def rendered(number: Fraction) -> str:
    """Return the number as ``18`` or ``3/4``."""
    return str(number)


def _marked_numbers(span: str) -> list[Fraction | None]:
    """Return the numbers that a marked answer names: one, none, or several that then conflict.

    A number right at the start is the answer ("18 because 2 * 9 is 18"), with whatever list or expression it
    begins, of which the part after the last "=" counts; else the last number of the line is.
    """
    lead = _LEAD.match(span)
    match = _NUMBER.match(span, lead.end() if lead else 0)
    if match is None:
        return [_value(found) for found in _NUMBER.finditer(span)][-1:]
    numbers: list[Fraction | None] = []
    while match:
        numbers.append(_value(match))
        join = _JOIN.match(span, match.end())
        match = _NUMBER.match(span, join.end()) if join else None
        if join and match and join[0].rstrip()[-1:] in ("=", "≈"):
            numbers = []
    return numbers if len(numbers) == 1 else [*numbers, None]


def _value(match: re.Match[str]) -> Fraction | None:
    """Return the exact value of a matched number; None if it is too long to be read or divides by zero."""
    if len(match[0]) > MAX_DIGITS:
        return None
    sign = -1 if match[0].startswith("-") else 1
    if match["top"]:
        bottom = int(match["bottom"])
        return sign * (int(match["whole"] or 0) + Fraction(int(match["top"]), bottom)) if bottom else None
    digits = match[0].lower().replace(",", "")
    if abs(int(digits.partition("e")[2] or 0)) > MAX_DIGITS:
        return None
    return Fraction(digits)
