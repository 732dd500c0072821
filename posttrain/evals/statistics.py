"""pass@k and its kin, and their error bars. A question is the unit: its samples are averaged first, never pooled."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Sequence
from statistics import NormalDist
from typing import NamedTuple

Z95 = NormalDist().inv_cdf(0.975)


class Estimate(NamedTuple):
    """A mean over questions and its standard error; `stderr` is None below two questions (or two groups of them)."""

    mean: float
    stderr: float | None
    n: int


class Interval(NamedTuple):
    """A 95% confidence interval."""

    low: float
    high: float


def pass_at_k(n: int, c: int, k: int) -> float:
    """Return the unbiased estimate of pass@k for one question with `c` of `n` samples right.

    ``1 - C(n - c, k) / C(n, k)``: Chen et al. 2021 (arXiv 2107.03374), Eq. 1, in its product form.
    Raises ValueError when fewer than k samples were drawn: the estimate does not exist.
    """
    _check(n, c, k)
    if n - c < k:
        return 1.0
    return 1.0 - math.prod(1.0 - k / i for i in range(n - c + 1, n + 1))


def pass_hat_k(n: int, c: int, k: int) -> float:
    """Return the unbiased estimate of pass^k, the chance that all of k samples are right: ``C(c, k) / C(n, k)``
    (tau-bench, arXiv 2406.12045). Raises ValueError when fewer than k samples were drawn."""
    _check(n, c, k)
    return math.comb(c, k) / math.comb(n, k)


def maj_at_k(right: int, wrong: Sequence[int], blank: int, k: int) -> float:
    """Return maj@k for one question: how often the most frequent answer among k of its samples is the right one,
    over all k-subsets of the samples, exactly.

    `right` samples gave the right answer, `wrong` has the count of each distinct wrong one, and `blank` samples
    gave none and do not vote. Among answers with equally many votes one is drawn by lot (Wang et al. 2022, arXiv
    2203.11171, without weights). Raises ValueError when fewer than k samples were drawn.
    """
    n = right + sum(wrong) + blank
    _check(n, right, k)
    won = 0.0
    for votes in range(1, min(right, k) + 1):
        # (samples taken, answers that tie with the right one) -> ways to take them from the wrong answers
        ways: dict[tuple[int, int], int] = {(0, 0): 1}
        for count in wrong:
            following: dict[tuple[int, int], int] = defaultdict(int)
            for (taken, ties), way in ways.items():
                for more in range(min(count, votes, k - votes - taken) + 1):
                    following[taken + more, ties + (more == votes)] += way * math.comb(count, more)
            ways = following
        others = math.fsum(
            way * math.comb(blank, k - votes - taken) / (ties + 1) for (taken, ties), way in ways.items()
        )
        won += math.comb(right, votes) * others
    return won / math.comb(n, k)


def estimate(values: Sequence[float], groups: Sequence[Hashable] | None = None) -> Estimate:
    """Return the mean over questions with its standard error.

    By the central limit theorem it is the sample deviation / sqrt(n) (Miller 2024, arXiv 2411.00640, Eq. 1). With
    `groups`, the group of each question (a passage, a customer), it is the clustered one (Eq. 4): questions of one
    group tend to be right together, and count for less than independent ones.
    """
    n = len(values)
    if n == 0:
        raise ValueError("no questions")
    mean = math.fsum(values) / n
    if n == 1 or (groups is not None and len(set(groups)) == 1):
        return Estimate(mean, None, n)
    variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1) / n
    if groups is not None:
        members: dict[Hashable, list[float]] = defaultdict(list)
        for value, group in zip(values, groups, strict=True):
            members[group].append(value - mean)
        # The sum over pairs i != j of one group is the squared sum less the squares.
        pairs = (math.fsum(group) ** 2 - math.fsum(x * x for x in group) for group in members.values())
        variance += math.fsum(pairs) / n**2
    return Estimate(mean, math.sqrt(max(variance, 0.0)), n)


def interval(found: Estimate) -> Interval | None:
    """Return mean ± 1.96 standard errors; None without a standard error."""
    if found.stderr is None:
        return None
    return Interval(found.mean - Z95 * found.stderr, found.mean + Z95 * found.stderr)


def rate_interval(found: Estimate) -> Interval:
    """Return the interval of a rate from 0 to 1.

    Wilson's (1927), with the number of questions that, each right or wrong, would give this standard error; near 0
    and 1, where that error is too small to be true, with the questions there are. So no interval is a single point:
    40 of 40 right is 91% to 100%.
    """
    p, spread = found.mean, found.mean * (1 - found.mean)
    n = float(found.n)
    if found.stderr and spread > 0:
        n = max(1.0, spread / found.stderr**2)
    z2 = Z95 * Z95
    middle = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * math.sqrt(spread / n + z2 / (4 * n * n))
    return Interval(max(0.0, middle - half), min(1.0, middle + half))


def paired(ours: Sequence[float], theirs: Sequence[float], groups: Sequence[Hashable] | None = None) -> Estimate:
    """Return the mean difference ours - theirs over the same questions, with the standard error of the differences
    (Miller 2024, Eq. 7): questions that are hard for both cancel out, which two separate error bars cannot show."""
    return estimate([a - b for a, b in zip(ours, theirs, strict=True)], groups)


def paired_interval(
    ours: Sequence[float], theirs: Sequence[float], groups: Sequence[Hashable] | None = None
) -> Interval | None:
    """Return the 95% interval of the mean difference; None with one question.

    Of shares it is Bonett and Price's (2012): as if there were two questions more, one won and one lost. So three
    questions that were all won are no proof, and with hundreds it makes no difference.
    """
    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    if all(0 <= value <= 1 for value in (*ours, *theirs)):
        differences += [1.0, -1.0]
        groups = [*groups, object(), object()] if groups is not None else None
    return interval(estimate(differences, groups))


def _check(n: int, c: int, k: int) -> None:
    if not 1 <= k <= n:
        raise ValueError(f"{k} of {n} samples: at least {k} must have been drawn")
    if not 0 <= c <= n:
        raise ValueError(f"{c} of {n} samples right")
