"""Whether two formulas are equal: exactly where they are rational, else by values to fifty digits and to 300.

A difference is relative to the values, never absolute: 2^-99 is not 2^-98. With variables the formulas are compared at
pseudo-random points, where two different ones agree with a chance of nothing (Schwartz-Zippel for polynomials).
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from posttrain.graders.math_expression import Node, symbols

MAX_BITS = 100_000
"""Larger rational numbers are not worked out exactly."""
MAX_EXPONENT = 1e9
"""Values beyond 2 to this power are not worked out at all."""
DIGITS = (50, 300)
POINTS = 8
AGREEING = 3
"""At so many points at least both formulas must have a value."""
MIN_SIGNIFICANT = 6
"""A decimal with so many digits may stand for a number that it is the rounding of."""


class Undefined(ArithmeticError):
    """The formula has no finite value here, or one that is too large to be worked out."""


def equal(gold: Node, answer: Node) -> bool | None:
    """Return whether two formulas are equal; None where neither could be evaluated anywhere."""
    if gold == answer:
        return True
    exact = rational(gold), rational(answer)
    if exact[0] is not None and exact[1] is not None:
        return exact[0] == exact[1] or _rounded(gold, answer, *exact)
    if "infty" in (_sign(gold)[0], _sign(answer)[0]):
        return _sign(gold) == _sign(answer)
    if symbols(gold) | symbols(answer):
        return _equal_at_points(gold, answer)
    try:
        values = [(value(gold, {}, digits), value(answer, {}, digits)) for digits in DIGITS]
    except Undefined:
        return None
    if all(_close(*pair, digits) for pair, digits in zip(values, DIGITS, strict=True)):
        return True
    return _rounded(gold, answer, *values[-1])


def rational(node: Node) -> Fraction | None:
    """Return the exact value of a formula; None if it is not plainly rational, or too large."""
    operation = node[0]
    if operation == "number":
        return node[1]
    if operation not in ("add", "negative", "multiply", "divide", "power", "factorial", "degrees"):
        return None
    parts = [rational(part) for part in node[1:]]
    if None in parts:
        return None
    first, second = parts[0], parts[-1]
    assert first is not None and second is not None
    bits = max(size(first), 1)
    if operation == "add":
        return first + second if max(bits, size(second)) < MAX_BITS else None
    if operation == "multiply":
        return first * second if bits + size(second) < MAX_BITS else None
    if operation == "divide":
        return first / second if second and bits + size(second) < MAX_BITS else None
    if operation == "negative":
        return -first
    if operation == "degrees":
        return first
    if operation == "factorial":
        return _factorial(first)
    if second.denominator != 1 or (second <= 0 and not first) or abs(second) * bits > MAX_BITS:
        return None
    return first**second.numerator


def size(number: Fraction) -> int:
    """Return how many bits the larger of numerator and denominator has."""
    return max(number.numerator.bit_length(), number.denominator.bit_length())


def _factorial(number: Fraction) -> Fraction | None:
    import math

    return Fraction(math.factorial(number.numerator)) if number.denominator == 1 and 0 <= number <= 5000 else None


def value(node: Node, point: Mapping[str, Fraction], digits: int, angle: bool = False) -> Any:
    """Return the formula's value (an mpmath number) with the variables at `point`, correct to about `digits`.

    `angle` says that degrees count as such; elsewhere their sign is a unit. Raises Undefined.
    """
    from mpmath import mp

    with mp.workdps(digits + 20):
        try:
            result = _value(node, point, angle)
        except (ArithmeticError, ValueError, TypeError, NotImplementedError) as error:
            raise Undefined(str(error)) from None
    if not mp.isfinite(result):
        raise Undefined("not finite")
    return result


def _value(node: Node, point: Mapping[str, Fraction], angle: bool) -> Any:
    from mpmath import mp

    operation = node[0]
    if operation == "number":
        return mp.mpf(node[1].numerator) / node[1].denominator
    if operation == "symbol":
        return mp.mpf(point[node[1]].numerator) / point[node[1]].denominator
    if operation in ("pi", "e"):
        return +getattr(mp, operation)
    if operation == "i":
        return mp.j
    if operation == "infty":
        raise Undefined("infinite")
    inside = angle or operation in _TRIGONOMETRY
    parts = [_value(part, point, inside) for part in node[1:]]
    first, second = parts[0], parts[-1]
    if operation == "add":
        return _snapped(first + second, max(abs(first), abs(second)))
    if operation == "negative":
        return -first
    if operation == "multiply":
        return first * second
    if operation == "divide":
        return first / second
    if operation == "degrees":
        return first * mp.pi / 180 if angle else first
    if operation == "power":
        return _power(first, second)
    if operation == "root":
        return _root(first, second)
    if operation == "abs":
        return abs(first)
    if operation in ("floor", "ceiling"):
        near = mp.nint(mp.re(first))
        exact = near if abs(first - near) < mp.mpf(10) ** (-mp.dps // 2) else first
        return mp.floor(exact) if operation == "floor" else mp.ceil(exact)
    if operation in ("factorial", "binomial"):
        if max(abs(part) for part in parts) > 1e7:
            raise Undefined("too large")
        return mp.factorial(first) if operation == "factorial" else mp.binomial(first, second)
    if operation == "exp":
        return _power(mp.e, first)
    return _function(operation, first)


_TRIGONOMETRY = {"sin": "sin", "cos": "cos", "tan": "tan", "cot": "cot", "sec": "sec", "csc": "csc"}
_OTHERS = {
    "arcsin": "asin",
    "arccos": "acos",
    "arctan": "atan",
    "arccot": "acot",
    "arcsec": "asec",
    "arccsc": "acsc",
    "sinh": "sinh",
    "cosh": "cosh",
    "tanh": "tanh",
    "ln": "ln",
    "log": "log10",
}


def _function(name: str, x: Any) -> Any:
    from mpmath import mp

    if abs(x) > mp.mpf(2) ** 10_000:
        raise Undefined("too large")
    if name in ("sinh", "cosh") and abs(x) > MAX_EXPONENT:
        raise Undefined("too large")
    if name in ("ln", "log") and x == 0:
        raise Undefined("logarithm of zero")
    if name in ("tan", "sec") and not _snapped(mp.cos(x), 1):
        raise Undefined("a pole")
    if name in ("cot", "csc") and not _snapped(mp.sin(x), 1):
        raise Undefined("a pole")
    return _snapped(getattr(mp, (_TRIGONOMETRY | _OTHERS)[name])(x), 1)


def _power(base: Any, exponent: Any) -> Any:
    from mpmath import mp

    if base == 0:
        if mp.re(exponent) <= 0:
            raise Undefined("0 to a power that is not positive")
        return mp.mpf(0)
    # The magnitude of a tower's top is known from its exponent alone: nothing large is worked out.
    if abs(exponent) > mp.mpf(2) ** 64 or abs(exponent) * max(1, abs(mp.mag(base))) > MAX_EXPONENT:
        raise Undefined("too large")
    return base**exponent


def _root(base: Any, degree: Any) -> Any:
    """Return the real root where there is one, as in school: the cube root of -8 is -2."""
    from mpmath import mp

    if degree == 0:
        raise Undefined("root of degree 0")
    real = mp.im(base) == 0 and mp.im(degree) == 0
    if real and mp.re(base) < 0 and mp.isint(degree) and int(mp.re(degree)) % 2:
        return -_power(-mp.re(base), 1 / degree)
    return _power(base, 1 / degree)


def _snapped(number: Any, scale: Any) -> Any:
    """Return a number; what is far below the precision of what it was computed from is zero, part by part."""
    from mpmath import mp

    least = scale * mp.mpf(10) ** (10 - mp.dps)
    if not isinstance(number, mp.mpc):
        return mp.mpf(0) if abs(number) < least else number
    real = mp.mpf(0) if abs(number.real) < least else number.real
    return mp.mpc(real, number.imag) if abs(number.imag) >= least else real


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
    if _sign(node)[0] == "infty":
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


def _sign(node: Node) -> tuple[str, int]:
    sign = 1
    while node[0] == "negative":
        node, sign = node[1], -sign
    return node[0], sign


def _rounded(gold: Node, answer: Node, gold_value: Any, answer_value: Any) -> bool:
    """Return whether one of the two is a decimal number, long enough, that is the other rounded or cut there."""
    for written, other, node in ((answer_value, gold_value, answer), (gold_value, answer_value, gold)):
        _, sign = _sign(node)
        number = node
        while number[0] == "negative":
            number = number[1]
        if number[0] != "number" or not number[2]:
            continue
        digits = len(str(int(number[1] * 10 ** number[2])))
        if digits >= MIN_SIGNIFICANT and getattr(other, "imag", 0) == 0:
            units = abs(other - written) * 10 ** number[2]
            return bool(units <= Fraction(1, 2) if abs(written) > abs(other) else units < 1)
    return False
