"""pass@k and error bars against hand-made tables and an independent count over all subsets."""

from __future__ import annotations

from itertools import combinations
from math import isclose, sqrt

import pytest

from posttrain.evals.statistics import estimate, pass_at_k


def by_enumeration(n: int, c: int, k: int) -> float:
    """The share of all k-subsets of n samples that hold at least one of the c right ones."""
    subsets = list(combinations(range(n), k))
    return sum(any(i < c for i in subset) for subset in subsets) / len(subsets)


@pytest.mark.parametrize("n", [1, 4, 7])
def test_pass_at_k_is_the_share_of_subsets_with_a_right_sample(n: int) -> None:
    for c in range(n + 1):
        for k in range(1, n + 1):
            assert isclose(pass_at_k(n, c, k), by_enumeration(n, c, k), abs_tol=1e-12)


@pytest.mark.parametrize(
    ("n", "c", "k", "expected"),
    [(8, 0, 8, 0.0), (8, 1, 8, 1.0), (8, 2, 1, 0.25), (8, 2, 4, 1 - 15 / 70), (10, 3, 5, 1 - 21 / 252)],
)
def test_pass_at_k_by_hand(n: int, c: int, k: int, expected: float) -> None:
    assert isclose(pass_at_k(n, c, k), expected, abs_tol=1e-12)


@pytest.mark.parametrize(("n", "c", "k"), [(4, 2, 5), (4, 5, 1), (4, -1, 1), (4, 2, 0)])
def test_pass_at_k_refuses_what_it_cannot_estimate(n: int, c: int, k: int) -> None:
    with pytest.raises(ValueError):
        pass_at_k(n, c, k)


def test_the_error_bar_is_over_questions() -> None:
    # Four questions at 0, 1/2, 1/2, 1: mean 1/2, sample variance (1/4 + 1/4) / 3 = 1/6, error sqrt(1/6 / 4).
    found = estimate([0.0, 0.5, 0.5, 1.0])
    assert found.mean == 0.5
    assert isclose(found.stderr or 0, sqrt(1 / 24))
    assert found.n == 4


def test_one_question_has_no_error_bar() -> None:
    assert estimate([1.0]).stderr is None
    with pytest.raises(ValueError):
        estimate([])
