"""The score or the label in what a judge said: as JSON, after a mark, or alone; never guessed from prose.

`incorrect` holds `correct`, `7/10` is no 7 of 1, and a rubric that the judge repeats is full of numbers. What is
not plainly the verdict is none, and so are two verdicts that differ.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any

from posttrain.graders.answers import final_text

MAX_CHARACTERS = 20_000
"""A longer reply is no verdict."""

_NUMBER = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?"
# A number and the scale that it names ("4/5", "4 out of 5", "80%"), or what makes it none ("0-5", "1,5", "4 or 5").
_VALUE = re.compile(
    rf"[*_`\"'<(\[\s]*(?P<value>{_NUMBER})(?![\w.]*\w)[*_`\"'>\s]*"
    rf"(?:(?:/|\(?\s*(?:out\s+)?of\b)\s*(?P<of>{_NUMBER})\)?|(?P<percent>%))?"
    r"(?P<more>\s*[-\u2013~]\s*[\d<]|,\d|\s*\b(?:to|or)\s+\d)?",
    re.IGNORECASE,
)
_SCORE_MARK = re.compile(
    r"(?P<final>\b(?:final|overall|total)\s+)?\b(?:score|rating|grade)\b[*_`\"']{0,3}\s*(?:[:=]|\bis\b:?|\bof\b)",
    re.IGNORECASE,
)
_LABEL_MARK = re.compile(
    r"(?P<final>\b(?:final|overall)\s+)?\b(?:label|class|classification|category|verdict|answer)\b"
    r"[*_`\"']{0,3}\s*(?:[:=]|\bis\b:?)",
    re.IGNORECASE,
)
_FENCE = re.compile(r"\A```\w*\s*\n(.*?)\n?```\Z", re.DOTALL)
_AROUND = " \t\n.,*_`\"'()[]{}<>"
MARKED_CHARACTERS = 200


def read_score(reply: str, low: float, high: float) -> float | str:
    """Return the score in a judge's reply, or in words why there is none, or none from `low` to `high`."""
    text = _plain(reply)
    if text is None:
        return "no end of the judge's thinking, or far too long"
    said = _json_value(text, "score")
    if isinstance(said, str):
        text, said = said, None
    marked = _marked_numbers(text, high)
    alone = _number(text.rpartition("\n")[2], high, alone=True)
    score = said if said is not None else marked[0] if marked else alone
    if isinstance(score, bool) or not isinstance(score, (int, float)) or not math.isfinite(score):
        return "no score in it"
    if said is None and len(set(marked)) > 1:
        return "more than one score in it"
    return score if low <= score <= high else f"the score {score:g} is not from {low:g} to {high:g}"


def read_label(reply: str, labels: Sequence[str]) -> str | None:
    """Return the one of `labels` that a judge's reply gives, or None."""
    text = _plain(reply)
    if text is None:
        return None
    said = _json_value(text, "label")
    if said is not None:
        return _label(said, labels) if isinstance(said, str) else None
    for marked in _after_marks(text, _LABEL_MARK):
        found = {_label(line.strip().partition("\n")[0], labels) for line in marked} - {None}
        if found:
            return found.pop() if len(found) == 1 else None
    return _label(text, labels) or _label(text.rpartition("\n")[2], labels)


def _plain(reply: str) -> str | None:
    """Return the reply without the judge's thinking and a code fence around it; None where nothing is to be read."""
    text = final_text(reply)
    if text is None or len(text) > MAX_CHARACTERS:
        return None
    fenced = _FENCE.match(text.strip())
    return fenced[1].strip() if fenced else text.strip()


def _json_value(text: str, key: str) -> Any:
    """Return what a reply that is a JSON object has at `key`; None where it is none or has none."""
    try:
        value = json.loads(text, parse_int=float)
    except (ValueError, RecursionError):
        return None
    return value.get(key) if isinstance(value, dict) else None


def _after_marks(text: str, mark: re.Pattern[str]) -> list[list[str]]:
    """Return what follows the marks that are called final, and what follows all of them."""
    found = list(mark.finditer(text))
    kinds = [[match for match in found if match["final"]], found]
    return [[text[match.end() : match.end() + MARKED_CHARACTERS] for match in kind] for kind in kinds]


def _marked_numbers(text: str, high: float) -> list[float]:
    """Return the numbers after marks; a mark that no number follows is none ("the score is based on")."""
    for marked in _after_marks(text, _SCORE_MARK):
        numbers = [_number(line, high) for line in marked]
        if found := [number for number in numbers if number is not None]:
            return found
    return []


def _number(text: str, high: float, *, alone: bool = False) -> float | None:
    """Return the number that a text begins with, or `alone` is; NaN on a scale that does not end at `high`.

    On a line below its mark the number stands alone too: "rating:", then "1. Poor" begins a list.
    """
    match = _VALUE.match(text)
    if not match or match["more"]:
        return None
    end = max(match.end("value"), match.end("of"), match.end("percent"))
    if (alone or "\n" in text[: match.start("value")]) and text[end:].partition("\n")[0].strip(_AROUND):
        return None
    if (match["of"] and float(match["of"]) != high) or (match["percent"] and high != 100):
        return math.nan
    return float(match["value"])


def _label(text: str, labels: Sequence[str]) -> str | None:
    """Return the label that a text is, but for case and what surrounds it."""
    if text.strip() in labels:
        return text.strip()
    bare = text.strip(_AROUND).casefold()
    same = [label for label in labels if label.strip(_AROUND).casefold() == bare]
    return same[0] if len(same) == 1 else None
