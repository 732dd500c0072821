"""Grader `choice`: the completion names the right option of a multiple-choice question, and no other."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
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

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class ChoiceSettings(GraderSettings):
    """The option that the completion names is `answer`."""

    type: Literal["choice"]
    answer_is: Literal["any", "letter", "index", "text"] = Field(
        "any",
        description="How `answer` names the right option: by letter, by index from 0 in `choices`, or by its "
        "text. A row that can be read in two ways is refused.",
    )


_STYLE = re.compile(r"\\(?:text|textbf|textrm|mathrm|mathbf)\b|\\[()\[\]]")
# A capital "A" or "I" before a small letter is a word of the sentence, not a label; but "A or B" names both.
_CAPITAL = r"(?:[B-HJ-Z]|A(?!\s+(?!(?:or|and)\b)[a-z])|I(?!\s+[a-z]))(?![\w'\u2019])"
_LEADING = re.compile(rf"\W*(?:(?i:option|choice|answer)\s+)?\W*({_CAPITAL}|[a-z](?=\W*$|[).\]]))")
_NEXT = re.compile(rf"[\s,;/&)(\]*]*(?:(?:or|and)\b[\s(\[*]*)?({_CAPITAL})")
_ALONE = re.compile(r"^\W*([A-Za-z])\W*$")
_LISTED = re.compile(rf"^[\s>*_(\[]{{0,9}}({_CAPITAL})[\s*_]{{0,3}}[.):\]]")
_LABEL = re.compile(rf"(?<![\w'\u2019.])({_CAPITAL})(?=[\s*_]{{0,3}}(?:[)\]]|[.:]\s+\S))")
_LETTER = re.compile(rf"(?<![\w'\u2019])({_CAPITAL})")


def make(settings: ChoiceSettings, base_dir: Path) -> Grader:
    """Return the grader; it reads the problem's field `answer`, and `choices` (a list) where it is there."""

    def grade(completion: str, problem: Mapping[str, Any]) -> Grade:
        gold = gold_letter(problem, settings.answer_is)
        text = final_text(completion)
        if text is None:
            return verdict(False, "thinking never ended")
        letter, note = final_letter(text, _choices(problem))
        return verdict(False, note) if letter is None else compared(letter, gold, letter == gold)

    def gold(problem: Mapping[str, Any]) -> str:
        return f"Answer: {gold_letter(problem, settings.answer_is)}"

    return Grader(settings.name or settings.type, settings.weight, grade, gold)


def final_letter(text: str, choices: Sequence[str] = ()) -> tuple[str | None, str]:
    """Return the letter of the option that the text gives as its answer, or None and why there is none.

    The first of these that is there decides, and must name one option only: marked answers and boxes, lines
    that are nothing but a label, lines that begin with one (``B.``, ``(B)``), capital letters standing alone.
    """
    options = set(LETTERS[: len(choices) or None])
    text = _STYLE.sub(" ", text)
    lines = text.splitlines()
    ways: tuple[Iterator[str], ...] = (
        (letter for span in answer_spans(text) for letter in _named(span, choices)),
        (match[1] for line in lines if (match := _ALONE.match(line))),
        (letter for line in lines if _LISTED.match(line) for letter in _named(line.strip(), choices)),
        (match[1] for match in _LETTER.finditer(text)),
    )
    for way in ways:
        if letters := {letter.upper() for letter in way} & options:
            return (letters.pop(), "") if len(letters) == 1 else (None, "conflicting answers")
    return None, "no option named"


def gold_letter(problem: Mapping[str, Any], answer_is: str = "any") -> str:
    """Return the letter of the problem's right option.

    Raises BadProblem unless `answer` names exactly one option in the way or ways that `answer_is` allows.
    """
    answer, choices = field(problem, "answer"), _choices(problem)
    text = str(answer).strip()
    letters = set()
    if answer_is in ("any", "letter") and (label := re.fullmatch(r"\W*([A-Za-z])\W*", text)):
        letters |= {label[1].upper()} & set(LETTERS[: len(choices) or None])
    if answer_is in ("any", "index") and re.fullmatch(r"\d{1,2}", text) and not isinstance(answer, bool):
        letters |= set(LETTERS[: len(choices)][int(text) : int(text) + 1])
    if answer_is in ("any", "text") and isinstance(answer, str):
        letters |= {letter for letter, choice in zip(LETTERS, choices, strict=False) if _same(choice, text)}
    if len(letters) != 1:
        named = "several options: set answer_is to letter, index or text" if letters else "no option"
        raise BadProblem(f"the answer {shortened(text)!r} names {named}")
    return letters.pop()


def _choices(problem: Mapping[str, Any]) -> list[str]:
    choices = problem.get("choices")
    return [str(choice) for choice in choices] if isinstance(choices, list) else []


def _named(span: str, choices: Sequence[str]) -> Iterator[str]:
    """Yield the label that a marked answer begins with, if nothing or that choice's text follows; or else the
    label of the choice whose text it is; or else every label in it."""
    texts = dict(zip(LETTERS, choices, strict=False))
    match = _LEADING.match(span)
    if match:
        letter, rest = match[1], span[match.end() :].lstrip(").]:*_ ")
        if not rest.strip(".*_}\"'") or _same(texts.get(letter.upper(), ""), rest):
            yield letter
            return
    written = [letter for letter, text in texts.items() if _same(text, span)]
    yield from written or (_from(match) if match else ())


def _from(match: re.Match[str]) -> Iterator[str]:
    """Yield the label that was matched at the start of a line, and every other label that the line lists."""
    line = match.string
    yield from (other[1] for other in _LABEL.finditer(line, match.end()))
    following: re.Match[str] | None = match
    while following:
        yield following[1]
        following = _NEXT.match(line, following.end())


def _same(one: str, other: str) -> bool:
    return _words(one) == _words(other)


def _words(text: str) -> str:
    return " ".join(text.split()).strip(" .*_\"'").casefold()
