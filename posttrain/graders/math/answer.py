"""Where the final formula is in a completion, and in a gold answer."""

from __future__ import annotations

import re

from posttrain.graders.answers import boxed, marked
from posttrain.graders.math.notation import DOLLAR

MAX_CHARACTERS = 1000
"""A longer formula is not an answer."""

_FORMULA = re.compile(r"\$\$?([^$]+)\$\$?|\\\(((?:(?!\\[()]).)+)\\\)|\\\[((?:(?!\\[][]).)+)\\\]", re.DOTALL)
_JOINED = re.compile(r"[\s,;]*(?:\b(?:or|and)\b)?\s*")
_NUMBER_AND_WORDS = re.compile(rf"([-+${DOLLAR}]{{0,2}}\d[\d.,/]*(?:\s?\\?%)?(?:\s+[A-Za-z]{{2,}}){{0,6}})\W*$")
_BEGINS_FORMULA = re.compile(rf"[-+(\[{{\\\d.|{DOLLAR}√]|[A-Za-z]\s*[=^*/+-]")
_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:[.,/]\d+)*(?:\s?\\?%)?")
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{3}")
_TAGGED = re.compile(r"<answer>([^<]*)</answer>")
_BOLD = re.compile(r"\*\*([^*\n]+)\*\*")
_MONEY = re.compile(r"\$(?=\d[\d,]*(?:\.\d+)?(?:[\s.,;:!?)]|$))")
_TWO_SUMS = re.compile(r"\$(\d[\d.,]*\s[^$\\]*[A-Za-z]{2}[^$\\]*)\$(?=\d)")


def final_formulas(text: str) -> list[str]:
    """Return the distinct formulas that the text gives as its answer; all of them must be right.

    They are its boxes, ``<answer>`` tags and marked formulas; without any of those its marked answers in words;
    without those its last formula, or else what is bold in its last line, that line's last number, or that line.
    """
    text = with_money(text)
    spans = marked(text)
    formulas = [bare(box) for box in boxed(text)]
    formulas += [bare(inside) for inside in _TAGGED.findall(text) if "\\boxed" not in inside]
    formulas += [_leading_formula(span) for span in spans]
    if not any(formulas):
        formulas = [_number_or_all(span) for span in spans]
    if not any(formulas):
        # Far more than an answer needs, and little enough for any regular expression.
        tail = text[-2 * MAX_CHARACTERS :].strip()
        formulas = [_last_formula(tail) or _number_or_all(tail.rpartition("\n")[2])]
    return [formula for formula in dict.fromkeys(formulas) if formula]


def gold_formula(answer: str) -> str:
    """Return a gold answer as a bare formula, of a solution only the boxed or ``####`` end; may be empty."""
    text = answer.rpartition("####")[2].replace(r"\$", DOLLAR)
    boxes = boxed(text)
    return bare(boxes[-1] if boxes else with_money(text))


def bare(text: str) -> str:
    r"""Return a formula without what surrounds it: ``$x$``, ``\(x\)``, ``\[x\]``, ``**x**``, a final period."""
    text = text.strip(" \t\n*`")
    text = text if text.endswith("..") else text.removesuffix(".").strip("*`")
    match = _FORMULA.fullmatch(text) if len(text) <= MAX_CHARACTERS else None
    return " ".join((_inside(match) if match else text.replace("$", "")).split())


def with_money(text: str) -> str:
    """Return the text with the dollar signs that are money told apart from those that hold formulas."""
    text = text.replace(r"\$", DOLLAR)
    lines = (_TWO_SUMS.sub(rf"{DOLLAR}\1{DOLLAR}", line) for line in text.split("\n"))
    return "\n".join(_MONEY.sub(DOLLAR, line) if line.count("$") % 2 else line for line in lines)


def _leading_formula(span: str) -> str:
    """Return the formulas that a marked answer begins with, or an empty string if words come first."""
    span = span.lstrip("*_: ")
    if match := _FORMULA.match(span):
        formulas = [bare(_inside(match))]
        # "$3$ or $5$" is a list of two, and no answer to a question whose answer is 3
        while match and (match := _FORMULA.match(span, _JOINED.match(span, match.end()).end())):  # type: ignore[union-attr]
            formulas.append(bare(_inside(match)))
        return ", ".join(formulas)
    if match := _NUMBER_AND_WORDS.match(span):
        return match[1]
    return bare(span) if _BEGINS_FORMULA.match(span) else ""


def _last_formula(tail: str) -> str:
    matches = list(_FORMULA.finditer(tail))
    return bare(_inside(matches[-1])) if matches else ""


def _number_or_all(line: str) -> str:
    """Return what is bold in a line, else the last number of a line of words, and any other line as it is."""
    if bold := _BOLD.findall(line):
        return _number_or_all(bold[-1])
    numbers = _NUMBER.findall(line) if _WORD.search(line) else []
    return numbers[-1] if numbers else bare(line)


def _inside(match: re.Match[str]) -> str:
    return match[1] or match[2] or match[3]
