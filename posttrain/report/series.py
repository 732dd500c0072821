"""Rows of metrics.jsonl as columns to draw: few as they are, many in buckets, held-out ones with intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from posttrain.evals.statistics import Estimate, interval, rate_interval

MOST_POINTS = 2_000
"""Points of a curve; of more rows each point stands for several."""

_NO_FIGURES = ("step", "split", "epoch")
_RATES = ("pass@", "pass^", "maj@", "parts_passed")

Row = Mapping[str, Any]


def columns(rows: Sequence[Row], *, problems: int = 0, most: int = MOST_POINTS) -> dict[str, Any]:
    """Return the rows of one split as columns.

    ``{"logged": rows, "width": rows a point, "steps": [...], "values": {metric: [...]}, "low": {...}, "high": {...}}``.
    With a width above 1 a value is the mean over consecutive rows, its step the last of them, and low and high are the
    extremes. Else low and high are 95% intervals, there for metrics that have a standard error over `problems`.
    A metric that a row has not, or that is no number, is None. Values are rounded to six digits.
    """
    width = max(1, math.ceil(len(rows) / most))
    buckets = [rows[start : start + width] for start in range(0, len(rows), width)]
    found: dict[str, Any] = {
        "logged": len(rows),
        "width": width,
        "steps": [bucket[-1]["step"] for bucket in buckets],
        "values": {},
        "low": {},
        "high": {},
    }
    for name in metric_names(rows):
        cells = [[number for row in bucket if (number := figure(row, name)) is not None] for bucket in buckets]
        found["values"][name] = [_short(math.fsum(cell) / len(cell)) if cell else None for cell in cells]
        if width > 1:
            found["low"][name] = [_short(min(cell)) if cell else None for cell in cells]
            found["high"][name] = [_short(max(cell)) if cell else None for cell in cells]
        elif any(f"{name}_stderr" in row for row in rows):
            bounds = [interval_of(row, name, problems) for row in rows]
            found["low"][name] = [bound and _short(bound[0]) for bound in bounds]
            found["high"][name] = [bound and _short(bound[1]) for bound in bounds]
    return found


def metric_names(rows: Sequence[Row]) -> list[str]:
    """Return the metrics that the rows have, in the order in which they come first; not their standard errors."""
    names = dict.fromkeys(name for row in rows for name in row)
    return [name for name in names if name not in _NO_FIGURES and not name.endswith("_stderr")]


def figure(row: Row, name: str) -> float | None:
    """Return a metric of a row where it is a finite number."""
    value = row.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return value


def interval_of(row: Row, name: str, problems: int) -> tuple[float, float] | None:
    """Return the 95% interval of a metric of a look: that of a rate where it is one, else 1.96 standard errors."""
    value, stderr = figure(row, name), figure(row, f"{name}_stderr")
    if value is None or stderr is None:
        return None
    if name.startswith(_RATES) and problems:
        return tuple(rate_interval(Estimate(value, stderr, problems)))  # type: ignore[return-value]  # a pair
    bounds = interval(Estimate(value, stderr, problems))
    return (bounds.low, bounds.high) if bounds else None


def _short(value: float) -> float:
    return value if isinstance(value, int) else float(f"{value:.6g}")
