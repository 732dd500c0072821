"""The formulas of `multi`: values worked by hand, and what is refused, with its position."""

from __future__ import annotations

import math

import pytest

from posttrain.graders.formula import FUNCTIONS, FormulaError, parse

SCORES = {"a": 0.5, "b": 4.0, "clause_type": 1.0, "zero": 0.0}


@pytest.mark.parametrize(
    ("formula", "value"),
    [
        ("0.5 * a + 0.5 * clause_type", 0.75),
        ("a", 0.5),
        ("1 - 2 - 3", -4.0),
        ("8 / 4 / 2", 1.0),
        ("1 + 2 * 3", 7.0),
        ("(1 + 2) * 3", 9.0),
        ("2 ^ 3 ^ 2", 512.0),
        ("-2 ^ 2", -4.0),
        ("(-2) ^ 2", 4.0),
        ("2 ^ -1", 0.5),
        ("2 * -b", -8.0),
        ("--a", 0.5),
        ("+a - +b", -3.5),
        ("1e1 + .5 + 2.", 12.5),
        ("min(a, b, 3)", 0.5),
        ("max(a)", 0.5),
        ("abs(a - b)", 3.5),
        ("floor(-0.5)", -1.0),
        ("ceil(a)", 1.0),
        ("exp(0)", 1.0),
        ("sqrt(b)", 2.0),
        ("log(exp(1))", 1.0),
        ("log(b)", math.log(4)),
        ("max(min(a, b), sqrt((b)))", 2.0),
        ("zero ^ zero", 1.0),
        ("+".join(["a"] * 5000), 2500.0),
    ],
)
def test_values(formula: str, value: float) -> None:
    assert parse(formula, SCORES)(SCORES) == pytest.approx(value)


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        ("", "it ends where a number, a variable or ( should follow"),
        ("a +", "it ends where a number"),
        ("a b", "'b' at character 3, where an operator should stand"),
        ("0.5 * claus_type", "no grader 'claus_type' at character 7. Did you mean 'clause_type'?"),
        ("mean(a, b)", "no function 'mean' at character 1. (known: min, max, abs,"),
        ("a * (b + 1", "the ( at character 5 is not closed"),
        ("a * b) + 1", "')' at character 6, where an operator should stand"),
        ("sqr(a)", "no function 'sqr' at character 1. Did you mean 'sqrt'?"),
        ("sqrt(a, b)", "sqrt at character 1 takes one argument, not 2"),
        ("max()", "')' at character 5, where a number"),
        ("min(a,)", "')' at character 7, where a number"),
        ("max + 1", "max at character 1 is a function: write max(…)"),
        ("a ** b", "'*' at character 4, where a number"),
        ("a % b", "'%' at character 3 is no part of a formula"),
        ("a.real", "'.' at character 2 is no part of a formula"),
        ("__import__('os')", '"\'" at character 12 is no part of a formula'),
        ("a if b else 1", "'if' at character 3, where an operator should stand"),
        ("1e999", "1e999 at character 1 is too large a number"),
        ("(" * 100_000 + "a", "nested too deeply"),
    ],
)
def test_what_cannot_be_read_is_said_with_its_position(formula: str, message: str) -> None:
    with pytest.raises(FormulaError) as error:
        parse(formula, SCORES)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        ("a / zero", "division by zero at character 3"),
        ("zero ^ -1", "^ at character 6 has no value for these scores"),
        ("(-b) ^ a", "^ at character 6 has no value"),
        ("sqrt(-b)", "sqrt at character 1 has no value"),
        ("log(zero)", "log at character 1 has no value"),
        ("exp(1000)", "exp at character 1 has no value"),
        ("1e300 * 1e300", "* at character 7 is too large"),
        ("1 / (1e300 * 1e300)", "* at character 12 is too large"),
        ("10 ^ 400", "^ at character 4 has no value"),
    ],
)
def test_a_formula_without_a_finite_value_is_an_error(formula: str, message: str) -> None:
    value = parse(formula, SCORES)
    with pytest.raises(FormulaError) as error:
        value(SCORES)
    assert message in str(error.value)


def test_the_functions_are_openais() -> None:
    assert list(FUNCTIONS) == ["min", "max", "abs", "floor", "ceil", "exp", "sqrt", "log"]
