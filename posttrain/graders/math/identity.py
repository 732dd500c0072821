"""Whether two formulas are equal: exactly where they are rational, else by their values to fifty digits and to 300.

A difference is relative to the values, never absolute: 2^-99 is not 2^-98. With variables the formulas are compared at
pseudo-random points, where two polynomials that differ agree with a chance of nothing (Schwartz and Zippel).
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from posttrain.graders.math.expression import Node, symbols, unsigned
from posttrain.graders.math.value import Undefined, rational, value

DIGITS = (50, 300)
POINTS = 8
AGREEING = 3
"""At so many points at least both formulas must have a value."""
MIN_SIGNIFICANT = 6
"""A decimal with so many digits may stand for a number that it is the rounding of."""


def equal(gold: Node, answer: Node) -> bool | None:
    """Return whether two formulas are equal; None where neither could be evaluated anywhere."""
    if gold == answer:
        return True
    exact = rational(gold), rational(answer)
    if exact[0] is not None and exact[1] is not None:
        return exact[0] == exact[1] or _rounded(gold, answer, *exact)
    if "infty" in (unsigned(gold)[0][0], unsigned(answer)[0][0]):
        return unsigned(gold) == unsigned(answer)
    if symbols(gold) | symbols(answer):
        return _equal_at_points(gold, answer)
    try:
        values = [(value(gold, {}, digits), value(answer, {}, digits)) for digits in DIGITS]
    except Undefined:
        return None
    if all(_close(*pair, digits) for pair, digits in zip(values, DIGITS, strict=True)):
        return True
    return _rounded(gold, answer, *values[-1])


def _close(a: Any, b: Any, digits: int) -> bool:
    from mpmath import mp

    with mp.workdps(digits + 20):
        return abs(a - b) <= max(abs(a), abs(b)) * mp.mpf(10) ** (10 - digits)


def _equal_at_points(gold: Node, answer: Node) -> bool | None:
    """Return whether the formulas agree where both are real, or where they never are, where both have values."""
    names = sorted(symbols(gold) | symbols(answer))
    agreed: dict[bool, int] = {True: 0, False: 0}
    differed: dict[bool, int] = {True: 0, False: 0}
    for trial in range(POINTS):
        point = {name: _coordinate(name, trial) for name in names}
        values = [_value_or_none(node, point) for node in (gold, answer)]
        if values == [None, None]:
            continue
        if None in values:
            return False
        real = not any(number.imag for number in values)
        outcome = agreed if _close(values[0], values[1], DIGITS[0]) else differed
        outcome[real] += 1
        if outcome is differed and real:
            return False
    if not sum(agreed.values()) and not sum(differed.values()):
        return None
    if agreed[True] >= AGREEING:
        return True
    return not differed[False] and sum(agreed.values()) >= AGREEING


def _coordinate(name: str, trial: int) -> Fraction:
    """Return a variable's value at a point: positive at the even ones, negative at every other odd one."""
    number = Fraction(random.Random(f"{name} {trial}").randrange(3001, 29989), 10007)
    return -number if trial % 2 and random.Random(f"{trial} {name}").random() < 0.6 else number


def has_value(node: Node) -> bool:
    """Return whether a formula can be evaluated somewhere, or is infinite."""
    if unsigned(node)[0][0] == "infty":
        return True
    names = symbols(node)
    trials = range(POINTS if names else 1)
    return any(_value_or_none(node, {name: _coordinate(name, trial) for name in names}) is not None for trial in trials)


def proportional(first: Node, second: Node) -> bool:
    """Return whether one formula is the other times a constant that is not zero."""
    quotient: Node = ("divide", first, second)
    point = {name: _coordinate(name, 0) for name in symbols(quotient)}
    if (factor := _value_or_none(quotient, point)) in (None, 0):
        return False
    others = ({name: _coordinate(name, trial) for name in point} for trial in range(1, POINTS))
    values = [number for point in others if (number := _value_or_none(quotient, point)) is not None]
    return len(values) >= AGREEING and all(_close(number, factor, DIGITS[0]) for number in values)


def _value_or_none(node: Node, point: Mapping[str, Fraction]) -> Any:
    try:
        return value(node, point, DIGITS[0])
    except Undefined:
        return None


def _rounded(gold: Node, answer: Node, gold_value: Any, answer_value: Any) -> bool:
    """Return whether one of the two is a decimal number, long enough, that is the other rounded or cut there."""
    for node, written, other in ((answer, answer_value, gold_value), (gold, gold_value, answer_value)):
        number, _ = unsigned(node)
        if number[0] != "number" or not number[2] or getattr(other, "imag", 0):
            continue
        units = 10 ** number[2]
        if number[1] * units < 10 ** (MIN_SIGNIFICANT - 1):
            continue
        off = abs(other - written) * units
        return bool(2 * off <= 1 if abs(written) > abs(other) else off < 1)
    return False
