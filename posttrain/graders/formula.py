"""The formula of a `multi` grader: arithmetic over the scores of its graders, read by a parser of its own.

``+ - * /``, ``^`` (power), a sign before a value, parentheses, and the functions of OpenAI's multi grader. What
OpenAI leaves open is decided here: ``^`` binds right to left and before a sign (``-2^2`` is -4, ``2^3^2`` is
512), and ``log`` is the natural logarithm.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import NamedTuple

from posttrain.errors import did_you_mean

Value = Callable[[Mapping[str, float]], float]

FUNCTIONS: dict[str, Callable[..., float]] = {
    "min": lambda *values: min(values),
    "max": lambda *values: max(values),
    "abs": abs,
    "floor": math.floor,
    "ceil": math.ceil,
    "exp": math.exp,
    "sqrt": math.sqrt,
    "log": math.log,
}
_ANY_NUMBER_OF_ARGUMENTS = ("min", "max")
_OPERATORS: dict[str, Callable[[float, float], float]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "^": math.pow,
}
_TOKEN = re.compile(r"(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)|(?P<name>[A-Za-z_]\w*)|(?P<sign>[-+*/^(),])")
_SPACE = re.compile(r"\s*")
NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)


class FormulaError(ValueError):
    """A formula that cannot be read, or that has no finite value for these scores."""


class _Token(NamedTuple):
    kind: str  # number, name, sign; end
    text: str
    at: int  # counted from 1


def parse(formula: str, variables: Collection[str]) -> Value:
    """Return the function that gives the formula's value for the variables' values.

    Raises FormulaError with the position of what is wrong; so does the function, where the formula has no
    finite value: a division by zero, the root of a negative number, an overflow.
    """
    try:
        return _Parser(formula, variables).whole()
    except RecursionError:
        raise FormulaError("nested too deeply") from None


class _Parser:
    """Recursive descent: a method for each level of binding, loosest first."""

    def __init__(self, formula: str, variables: Collection[str]) -> None:
        self.tokens = _tokens(formula)
        self.variables = variables
        self.next = 0

    def whole(self) -> Value:
        value = self.sum()
        if self.token.kind != "end":
            raise self.unexpected("an operator")
        return value

    def sum(self) -> Value:
        return self.chain(("+", "-"), self.product)

    def product(self) -> Value:
        return self.chain(("*", "/"), self.signed)

    def chain(self, signs: tuple[str, str], operand: Callable[[], Value]) -> Value:
        first = operand()
        rest: list[tuple[_Token, Value]] = []
        while self.token.text in signs:
            rest.append((self.take(), operand()))
        return _from_left(first, rest) if rest else first

    def signed(self) -> Value:
        if self.token.text == "+":
            self.take()
            return self.signed()
        if self.token.text == "-":
            self.take()
            negated = self.signed()
            return lambda scores: -negated(scores)
        return self.power()

    def power(self) -> Value:
        base = self.single()
        return _from_left(base, [(self.take(), self.signed())]) if self.token.text == "^" else base

    def single(self) -> Value:
        token = self.take()
        if token.kind == "number":
            number = float(token.text)
            if not math.isfinite(number):
                raise FormulaError(f"{token.text} at character {token.at} is too large a number")
            return lambda scores: number
        if token.kind == "name" and self.token.text == "(":
            return self.call(token)
        if token.kind == "name":
            if token.text not in self.variables:
                raise FormulaError(self.unknown(token))
            return lambda scores: scores[token.text]
        if token.text == "(":
            value = self.sum()
            self.close(token)
            return value
        self.next -= 1
        raise self.unexpected("a number, a variable or (")

    def call(self, name: _Token) -> Value:
        if name.text not in FUNCTIONS:
            known = f"{did_you_mean(name.text, FUNCTIONS)} (known: {', '.join(FUNCTIONS)})"
            raise FormulaError(f"no function '{name.text}' at character {name.at}.{known}")
        opening = self.take()
        arguments = [self.sum()]
        while self.token.text == ",":
            self.take()
            arguments.append(self.sum())
        self.close(opening)
        if len(arguments) != 1 and name.text not in _ANY_NUMBER_OF_ARGUMENTS:
            raise FormulaError(f"{name.text} at character {name.at} takes one argument, not {len(arguments)}")
        return lambda scores: _finite(name, partial(FUNCTIONS[name.text], *[value(scores) for value in arguments]))

    @property
    def token(self) -> _Token:
        return self.tokens[self.next]

    def take(self) -> _Token:
        self.next += 1
        return self.tokens[self.next - 1]

    def close(self, opening: _Token) -> None:
        if self.token.kind == "end":
            raise FormulaError(f"the ( at character {opening.at} is not closed")
        if self.token.text != ")":
            raise self.unexpected("an operator or )")
        self.take()

    def unexpected(self, wanted: str) -> FormulaError:
        if self.token.kind == "end":
            return FormulaError(f"it ends where {wanted} should follow")
        return FormulaError(f"{self.token.text!r} at character {self.token.at}, where {wanted} should stand")

    def unknown(self, name: _Token) -> str:
        if name.text in FUNCTIONS:
            return f"{name.text} at character {name.at} is a function: write {name.text}(…)"
        known = f"{did_you_mean(name.text, self.variables)} (graders: {', '.join(self.variables)})"
        return f"no grader '{name.text}' at character {name.at}.{known}"


def _tokens(formula: str) -> list[_Token]:
    found, at = [], _SPACE.match(formula).end()  # type: ignore[union-attr]
    while at < len(formula):
        match = _TOKEN.match(formula, at)
        if match is None:
            raise FormulaError(f"{formula[at]!r} at character {at + 1} is no part of a formula")
        found.append(_Token(str(match.lastgroup), match[0], at + 1))
        at = _SPACE.match(formula, match.end()).end()  # type: ignore[union-attr]
    return [*found, _Token("end", "", at + 1)]


def _from_left(first: Value, rest: list[tuple[_Token, Value]]) -> Value:
    def value(scores: Mapping[str, float]) -> float:
        total = first(scores)
        for sign, operand in rest:
            right = operand(scores)
            total = _finite(sign, partial(_OPERATORS[sign.text], total, right))
        return total

    return value


def _finite(token: _Token, value: Callable[[], float]) -> float:
    """Return a value as a float; raises FormulaError at the token where it has none."""
    try:
        number = float(value())
    except ZeroDivisionError:
        raise FormulaError(f"division by zero at character {token.at}") from None
    except (ValueError, OverflowError):
        raise FormulaError(f"{token.text} at character {token.at} has no value for these scores") from None
    if not math.isfinite(number):
        raise FormulaError(f"{token.text} at character {token.at} is too large for these scores")
    return number
