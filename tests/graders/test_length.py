from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from posttrain.graders import build
from posttrain.graders.combine import combined
from posttrain.graders.grade import verdict
from posttrain.graders.length import LengthSettings, score_of
from posttrain.graders.number import NumberSettings


@pytest.mark.parametrize(
    ("length", "score"),
    # at_most 100, soft 20: DAPO's Eq. 13 with L_max = 100 and L_cache = 20 gives 0, -1/4, -1/2, -1, -1.
    [(80, 1.0), (85, 0.75), (90, 0.5), (100, 0.0), (101, 0.0), (0, 1.0)],
)
def test_the_upper_slope_is_dapos(length: int, score: float) -> None:
    assert score_of(length, 0, 100, 20) == pytest.approx(score)


@pytest.mark.parametrize(
    ("length", "score"), [(9, 0.0), (10, 0.0), (12, 0.5), (14, 1.0), (16, 1.0), (18, 0.5), (20, 0.0)]
)
def test_both_slopes(length: int, score: float) -> None:
    assert score_of(length, 10, 20, 4) == pytest.approx(score)


@pytest.mark.parametrize(
    ("options", "completion", "passed", "note"),
    [
        ({"at_most": 3}, "one  two\nthree", True, "3 words"),
        ({"at_most": 3}, "one two three four", False, "4 words"),
        ({"at_least": 2}, "one", False, "1 words"),
        ({"at_least": 2}, "one two", True, "2 words"),
        ({"at_least": 2, "at_most": 2}, "one two", True, "2 words"),
        ({"at_most": 3, "unit": "characters"}, "a b", True, "3 characters"),
        ({"at_most": 1}, "<think>so much</think>one", True, "1 words"),
        ({"at_most": 1, "thinking": True}, "<think>so much</think>one", False, "2 words"),
        ({"at_most": 1}, "<think>so", False, "thinking never ended"),
    ],
)
def test_length(options: dict[str, Any], completion: str, passed: bool, note: str) -> None:
    grade = build(LengthSettings(type="length", **options), Path()).grade(completion, {})
    assert (grade.passed, grade.score, grade.note) == (passed, float(passed), note)


@pytest.mark.parametrize("options", [{}, {"at_least": 5, "at_most": 4}, {"at_most": 10, "soft": 11}, {"at_most": 0}])
def test_limits_that_make_no_sense(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        LengthSettings(type="length", **options)


def test_it_is_shown_and_not_paid() -> None:
    graders = [build(NumberSettings(type="number"), Path()), build(LengthSettings(type="length", at_most=1), Path())]
    grade = combined(graders, [verdict(True), graders[1].grade("far too long", {})])
    assert (grade.score, grade.passed) == (1.0, True)
    assert [(part.name, part.passed, part.note) for part in grade.parts][1] == ("length", False, "3 words")


def test_what_is_not_paid_has_no_weight() -> None:
    with pytest.raises(ValidationError, match="leave out `weight`"):
        LengthSettings(type="length", at_most=5, weight=0.1)
    assert LengthSettings(type="length", at_most=5, weight=0.1, role="score").weight == 0.1
