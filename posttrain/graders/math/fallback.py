"""math-verify, for gold answers that `form` cannot read: integrals, sums, limits, sets by a condition.

Its verdicts are taken with care. It compares values to six places after the point, so two small numbers are equal to
it; and it may read only the beginning of a text.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from posttrain.graders.math.notation import plain, squeezed

RELATIVE = 1e-12
_KINDS = re.compile(
    r"\\(?:int|sum|prod|lim|max|min|gcd|lcm|det|[pb]?mod|equiv|partial|prime|cap|setminus|backslash|mid)(?![A-Za-z])"
    r"|\\\{.*[|:].*\\\}|\\frac\{d"
)


def readable(gold: str) -> bool:
    """Return whether the gold is of the kinds that are for math-verify, which reads it as equal to itself."""
    meant = _KINDS.search(gold) and gold.count("{") == gold.count("}")
    return bool(meant and _parsed(gold)) and _verified(gold, gold)


def equal(gold: str, answer: str) -> bool | None:
    """Return math-verify's verdict unless the values differ; None for an answer that it cannot read."""
    if squeezed(plain(gold)) == squeezed(plain(answer)):
        return True
    if not _parsed(answer):
        return None
    return _verified(gold, answer) and not _values_differ(gold, answer)


@lru_cache(maxsize=256)
def _parsed(text: str) -> list[Any]:
    """Return math-verify's readings that are formulas, of a text that holds one; its time limits are off."""
    from math_verify import parse

    # Bare, most LaTeX parses to something else.
    return [reading for reading in parse(f"${text}$", parsing_timeout=None) if not isinstance(reading, str)]


def _verified(gold: str, answer: str) -> bool:
    from math_verify import verify

    return verify(_parsed(gold), _parsed(answer), timeout_seconds=None)


def _values_differ(gold: str, answer: str) -> bool:
    readings = [_parsed(text)[0] for text in (gold, answer)]
    if not all(getattr(reading, "is_number", False) for reading in readings):
        return False
    one, other = (reading.evalf(30) for reading in readings)
    try:
        return bool(abs(one - other) > RELATIVE * max(abs(one), abs(other)))
    except TypeError:  # not a number, which nothing is larger than
        return True
