"""Reading a constraint's arguments; whatever cannot be worked with is a BadProblem."""

from __future__ import annotations

import math

from posttrain.graders.grade import BadProblem


def whole(value: object, name: str) -> int:
    """Return a count; JSON data gives some of them as 5.0. Raises BadProblem for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1 or value < 0:
        raise BadProblem(f"{name} must be a whole number, 0 or more, not {value!r}")
    return int(value)


def percent(value: object, name: str) -> float:
    """Return a percentage. Raises BadProblem for anything but a number from 0 to 100."""
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not math.isfinite(value)
        or not 0 <= value <= 100
    ):
        raise BadProblem(f"{name} must be a number from 0 to 100, not {value!r}")
    return float(value)


def some_text(value: object, name: str) -> str:
    """Return a text that says something. Raises BadProblem for an empty one and for anything else."""
    if not isinstance(value, str) or not value.strip():
        raise BadProblem(f"{name} must be a text, not {value!r}")
    return value
