"""pass@k and its standard error. A question is the unit: its samples are averaged first, never pooled."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple


class Estimate(NamedTuple):
    """A mean over questions and its standard error; `stderr` is None below two questions."""

    mean: float
    stderr: float | None
    n: int


def pass_at_k(n: int, c: int, k: int) -> float:
    """Return the unbiased estimate of pass@k for one question with `c` of `n` samples right.

    ``1 - C(n - c, k) / C(n, k)``: Chen et al. 2021 (arXiv 2107.03374), Eq. 1, in its product form.
    Raises ValueError when fewer than k samples were drawn: the estimate does not exist.
    """
    if not 1 <= k <= n:
        raise ValueError(f"pass@{k} needs at least {k} samples, got {n}")
    if not 0 <= c <= n:
        raise ValueError(f"{c} of {n} samples right")
    if n - c < k:
        return 1.0
    return 1.0 - math.prod(1.0 - k / i for i in range(n - c + 1, n + 1))


def estimate(values: Sequence[float]) -> Estimate:
    """Return the mean over questions with its standard error by the central limit theorem:
    sample deviation / sqrt(n) (Miller 2024, arXiv 2411.00640, Eq. 1)."""
    n = len(values)
    if n == 0:
        raise ValueError("no questions")
    mean = math.fsum(values) / n
    if n == 1:
        return Estimate(mean, None, 1)
    variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1)
    return Estimate(mean, math.sqrt(variance / n), n)
