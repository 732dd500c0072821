"""Whether there is anything to learn from, against counts by hand and over all subsets."""

from __future__ import annotations

from itertools import combinations

import pytest

from posttrain.data.records import Problem
from posttrain.engines.sampling import Completion
from posttrain.evals.signal import equal_share, render, signal_of, teaches
from posttrain.evals.summary import Graded
from posttrain.graders.grade import Grade, failure

R, W, HALF, E = Grade(1.0, True), Grade(0.0, False), Grade(0.5, False), failure("other_error", "gone")


def graded(*grades: Grade) -> Graded:
    return Graded(Problem([], {}), [Completion("x", 1, False) for _ in grades], list(grades))


def test_the_share_of_equal_groups_is_over_all_subsets() -> None:
    grades = [R, R, R, W, W, HALF]
    for size in (1, 2, 3, 4):
        subsets = list(combinations([grade.score for grade in grades], size))
        share = sum(len(set(subset)) == 1 for subset in subsets) / len(subsets)
        assert equal_share(grades, size) == pytest.approx(share)
    assert equal_share([R, R, W], 4) == pytest.approx((2 / 3) ** 4 + (1 / 3) ** 4)


def test_counts_by_hand() -> None:
    look = signal_of([graded(R, W, W, W), graded(W, W, W, W), graded(R, R, R, R), graded(R, R, W, E), graded(E)], 2)
    assert (look.never, look.between, look.always, look.teaching, look.unjudged) == (1, 2, 1, 2, 1)
    assert look.histogram == [1, 1, 0, 1, 1]  # 2 of 3 is nearest to 3 of 4
    assert look.mean_pass == pytest.approx((1 / 4 + 0 + 1 + 2 / 3) / 4)
    assert look.zero_variance == pytest.approx((3 / 6 + 1 + 1 + 1 / 3) / 4)
    assert not look.nothing_to_learn and look.advice.startswith("fine")


@pytest.mark.parametrize(
    ("rows", "nothing", "says"),
    [
        ([graded(W, W), graded(W, W)], True, "SFT"),
        ([graded(R, R), graded(R, R)], True, "harder problems"),
        ([graded(R, R), graded(W, W)], True, "in between"),
        ([graded(W, HALF), graded(W, W)], False, "fine"),  # part marks are something to learn from
        ([graded(R, W)] + [graded(W, W)] * 30, False, "only 3% of the groups"),
        ([graded(R, R, R, R, R, R, R, R, R, W)] * 2, False, "nearly solved"),
    ],
)
def test_the_advice(rows: list[Graded], nothing: bool, says: str) -> None:
    look = signal_of(rows, 2)
    assert look.nothing_to_learn == nothing
    assert says in look.advice
    assert render(look).endswith(look.advice)


def test_what_teaches() -> None:
    assert teaches([R, W]) and teaches([W, HALF])
    assert not teaches([R, R]) and not teaches([R, E])
    with pytest.raises(ValueError, match="no completion"):
        signal_of([graded(E)], 2)
