"""The value of a formula: an exact fraction where it is plainly rational, else to as many digits as asked for.

Nothing is worked out that is too large: the size of a power is known before it is computed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from posttrain.graders.math.expression import Node

MAX_BITS = 100_000
"""Larger rational numbers are not worked out exactly."""
MAX_EXPONENT = 1e9
"""Values beyond 2 to this power are not worked out at all."""


class Undefined(ArithmeticError):
    """The formula has no finite value here, or one that is too large to be worked out."""


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
        exponent = rational(node[2])
        if exponent is not None and exponent.denominator > 1 and size(exponent) < 64:
            return _power(_root(first, mp.mpf(exponent.denominator)), mp.mpf(exponent.numerator))
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
