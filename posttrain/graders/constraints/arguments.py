"""What every constraint asks of its arguments. They come from data, so each is checked before it is used."""

from __future__ import annotations

import re
from typing import Any

from posttrain.graders.grade import BadProblem, shortened

RELATIONS = ("less than", "at least")


def number(name: str, value: Any) -> int:
    """Return a whole number of at least 0; a float such as 3.0, which tables make of a 3, is one too."""
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if not whole or isinstance(value, bool) or value < 0:
        raise _refused(name, value, "a whole number")
    return int(value)


def position(name: str, value: Any) -> int:
    """Return a number that counts from 1."""
    if number(name, value) < 1:
        raise _refused(name, value, "a number from 1")
    return int(value)


def text(name: str, value: Any) -> str:
    """Return a text that is not blank."""
    if not isinstance(value, str) or not value.strip():
        raise _refused(name, value, "a text")
    return value


def texts(name: str, value: Any) -> list[str]:
    """Return a list of texts that is not empty."""
    if not isinstance(value, list) or not value:
        raise _refused(name, value, "a list of texts")
    return [text(f"{name}[{index}]", item) for index, item in enumerate(value)]


def pattern(name: str, value: Any, before: str = "", after: str = "") -> re.Pattern[str]:
    """Return a keyword as the published checkers read it: a regular expression that ignores case.

    `before` and `after` are put around it as they are.
    """
    try:
        return re.compile(before + text(name, value) + after, re.IGNORECASE)
    except (re.error, OverflowError) as error:
        raise BadProblem(
            f"{name} {shortened(value)!r} is read as a regular expression, and is none: {error}; "
            "escape it with a backslash"
        ) from None


def holds(count: int, relation: Any, threshold: int, name: str = "relation") -> bool:
    """Return whether `count` is ``less than`` or ``at least`` the threshold, as the relation says."""
    if relation not in RELATIONS:
        raise _refused(name, relation, "'less than' or 'at least'")
    return (count < threshold) == (relation == "less than")


def _refused(name: str, value: Any, wanted: str) -> BadProblem:
    return BadProblem(f"{name} is {shortened(repr(value))}, not {wanted}")
