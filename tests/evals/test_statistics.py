"""pass@k and error bars against hand-made tables and an independent count over all subsets."""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from math import isclose, sqrt

import pytest

from posttrain.evals.statistics import (
    Estimate,
    estimate,
    interval,
    maj_at_k,
    paired,
    paired_interval,
    pass_at_k,
    pass_hat_k,
    rate_interval,
)


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


# pass^k and maj@k


@pytest.mark.parametrize("n", [1, 4, 7])
def test_pass_hat_k_is_the_share_of_subsets_with_right_samples_alone(n: int) -> None:
    for c in range(n + 1):
        for k in range(1, n + 1):
            subsets = list(combinations(range(n), k))
            share = sum(all(i < c for i in subset) for subset in subsets) / len(subsets)
            assert isclose(pass_hat_k(n, c, k), share, abs_tol=1e-12)


def majority_by_enumeration(answers: list[str | None], k: int) -> float:
    """The mean over all k-subsets of how much of the win is the right answer's, here 'r'; None does not vote."""
    shares = []
    for subset in combinations(answers, k):
        votes = Counter(answer for answer in subset if answer is not None)
        most = max(votes.values(), default=0)
        winners = [answer for answer, count in votes.items() if count == most]
        shares.append(winners.count("r") / len(winners) if winners else 0.0)
    return sum(shares) / len(shares)


@pytest.mark.parametrize(
    "answers", ["rrrr", "rrab", "raab", "rrraaabb-", "r--", "aab-", "rrrrrrrr", "rabcdef-", "rraaabbbcc--"]
)
def test_maj_at_k_is_the_mean_over_all_subsets(answers: str) -> None:
    given = [None if answer == "-" else answer for answer in answers]
    wrong = Counter(answer for answer in given if answer not in (None, "r"))
    for k in range(1, len(given) + 1):
        found = maj_at_k(given.count("r"), list(wrong.values()), given.count(None), k)
        assert isclose(found, majority_by_enumeration(given, k), abs_tol=1e-12)


def test_maj_at_k_by_hand() -> None:
    assert maj_at_k(2, [1, 1], 0, 4) == 1.0  # 2 votes against 1 and 1
    assert maj_at_k(1, [1], 0, 2) == 0.5  # a tie is drawn by lot
    # Three wrong answers as frequent as the right one, and nothing blank: a quarter each, whatever k.
    assert maj_at_k(64, [64] * 3, 0, 100) == pytest.approx(1 / 4)


# Groups, intervals, pairs


def test_groups_of_one_are_no_groups() -> None:
    values = [0.0, 0.5, 0.5, 1.0]
    assert estimate(values, ["a", "b", "c", "d"]).stderr == pytest.approx(estimate(values).stderr)
    assert estimate(values, ["a"] * 4).stderr is None


def test_clustered_error_by_hand() -> None:
    # Miller, Eq. 4: deviations 1/4, 1/4, -3/4, 1/4 in groups (1, 2) and (3, 4).
    # CLT part: (3/16 + 9/16) / 3 / 4 = 1/16; pairs: 2 * 1/16 and 2 * (-3/16), over 16.
    found = estimate([1.0, 1.0, 0.0, 1.0], ["a", "a", "b", "b"])
    assert found.stderr == pytest.approx(sqrt(1 / 16 + (2 / 16 - 6 / 16) / 16))


def test_wilson_intervals() -> None:
    """Against the closed form for yes and no answers: 40 of 40 is 91.2% to 100%, 9 of 10 is 59.6% to 98.2%."""
    low, high = rate_interval(estimate([1.0] * 40))
    assert (low, high) == (pytest.approx(40 / (40 + 3.8415), abs=1e-4), pytest.approx(1.0))
    nine = Estimate(0.9, sqrt(0.9 * 0.1 / 10), 10)
    assert rate_interval(nine) == (pytest.approx(0.5958, abs=1e-4), pytest.approx(0.9821, abs=1e-4))
    assert rate_interval(estimate([0.0, 0.0])).low == 0.0


def test_paired_differences_cancel_what_is_hard_for_both() -> None:
    ours, theirs = [1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]
    found = paired(ours, theirs)
    assert found.mean == 0.25
    assert found.stderr == pytest.approx(0.25)  # differences 0, 1, 0, 0: variance 1/4 over 4
    bounds = interval(found)
    assert bounds is not None and bounds.low == pytest.approx(0.25 - 1.959964 * 0.25)
    apart = sqrt((estimate(ours).stderr or 0) ** 2 + (estimate(theirs).stderr or 0) ** 2)
    assert apart > (found.stderr or 0)


def test_three_questions_that_were_all_won_are_no_proof() -> None:
    """Bonett and Price: 1, 1, 1, and one won and one lost: mean 3/5, variance 4/5, over 5."""
    bounds = paired_interval([1.0] * 3, [0.0] * 3)
    assert bounds is not None and bounds.low == pytest.approx(0.6 - 1.959964 * sqrt(0.8 / 5))
    assert bounds.low < 0
    assert (paired_interval([1.0] * 200, [0.0] * 200) or bounds).low > 0.9
    assert paired_interval([3.0], [1.0]) is None
