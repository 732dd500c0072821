from __future__ import annotations

from fractions import Fraction

import pytest

pytest.importorskip("mpmath")

import mpmath

from posttrain.graders.math.expression import Unreadable, parse
from posttrain.graders.math.identity import equal
from posttrain.graders.math.notation import plain
from posttrain.graders.math.unit import split_unit
from posttrain.graders.math.value import Undefined, rational, value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1/2/3", Fraction(1, 6)),
        ("2^{3^2}", Fraction(512)),
        ("-2^2", Fraction(-4)),
        ("(-2)^{-3}", Fraction(-1, 8)),
        ("1\\frac{4}{5}", Fraction(9, 5)),
        ("-1\\frac12", Fraction(-3, 2)),
        ("2\\cdot3\\frac12", Fraction(7)),
        ("\\frac12\\frac34", Fraction(3, 8)),
        ("\\frac43", Fraction(4, 3)),
        ("\\frac4{13}", Fraction(4, 13)),
        ("0.1\\overline{6}", Fraction(1, 6)),
        ("0.333\\dots", Fraction(1, 3)),
        ("1.5e-3", Fraction(3, 2000)),
        ("3!+1", Fraction(7)),
        ("x^2", None),
        ("\\sqrt{4}", None),
        ("9^{9^{9^9}}", None),
        ("0^0", None),
        ("1/0", None),
    ],
)
def test_rational(text: str, expected: Fraction | None) -> None:
    assert rational(parse(text)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\\sqrt2+\\sqrt3", "3.14626436994197234232913506571557044551247712918732870"),
        ("\\pi^e", "22.4591577183610454734271522045437350275893151339966922"),
        ("\\sin 30^\\circ", "0.5"),
        ("\\log 1000", "3"),
        ("\\log_2 8", "3"),
        ("\\sqrt[3]{-8}", "-2"),
        ("\\binom{10}{3}", "120"),
        ("\\sin^{-1} 1", "1.57079632679489661923132169163975144209858469968755291"),
        ("\\lfloor -2.5 \\rfloor", "-3"),
        ("|3-\\pi|", "0.14159265358979323846264338327950288419716939937510582"),
        ("\\sqrt{8}-2\\sqrt{2}", "0"),
    ],
)
def test_value(text: str, expected: str) -> None:
    with mpmath.mp.workdps(60):
        assert abs(value(parse(text), {}, 50) - mpmath.mpf(expected)) < mpmath.mpf(10) ** -45


@pytest.mark.parametrize("text", ["9^{9^{9^9}}", "(10^9)!", "\\ln 0", "1/0", "0^{-1}", "\\tan 90^\\circ", "\\infty"])
def test_what_has_no_value(text: str) -> None:
    with pytest.raises(Undefined):
        value(parse(text), {}, 50)


@pytest.mark.parametrize(
    "text", ["", "1 2", "3+", "(3", "3)", "\\frac{1}", "5!!", "\\unknown", "{" * 50 + "1" + "}" * 50]
)
def test_what_is_no_formula(text: str) -> None:
    with pytest.raises(Unreadable):
        parse(text)


@pytest.mark.parametrize(
    ("gold", "answer", "expected"),
    [
        ("x", "\\sqrt{x^2}", False),
        ("|x|", "\\sqrt{x^2}", True),
        ("2\\ln x", "\\ln x^2", True),
        ("\\frac13", "0.333333", True),
        ("\\frac13", "0.333334", False),
        ("\\frac13", "0.33333", False),
        ("0.35625", "0.356250", True),
        ("2^{-99}", "2^{-98}", False),
        ("1/0", "2/0", None),
    ],
)
def test_identity(gold: str, answer: str, expected: bool | None) -> None:
    assert equal(parse(gold), parse(answer)) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\\left(\\dfrac12\\right)", "(\\frac12)"),
        ("10,\\!080", "10080"),
        ("1,234,567", "1234567"),
        ("1 000 000", "1000000"),
        ("(1,200)", "(1,200)"),
        ("1,2,345", "1,2345"),
        ("3\u00bd\u2212x\u00b2", "3\\frac{1}{2}-x^{2}"),
        ("90^{\\circ}", "90^\\circ"),
        ("sqrt(2)/pi", "\\sqrt (2)/\\pi"),
    ],
)
def test_plain(text: str, expected: str) -> None:
    assert plain(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5\\text{ cm}^2", ("5", "cm2")),
        ("5\\text{ square centimeters}", ("5", "cm2")),
        ("\\$18", ("18", "dollar")),
        ("18 dollars", ("18", "dollar")),
        ("50\\%", ("50", "%")),
        ("42\\text{ miles per hour}", ("42", "mi/hour")),
        ("3\\text{ million}", ("(3)\\cdot 1000000", "")),
        ("6\\text{ or more}", ("6\\text{ or more}", "")),
        ("7\\pi\\text{ square units}", ("7\\pi", "")),
        ("2x", ("2x", "")),
    ],
)
def test_split_unit(text: str, expected: tuple[str, str]) -> None:
    assert split_unit(text) == expected
