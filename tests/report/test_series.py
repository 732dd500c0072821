"""Columns hold what metrics.jsonl holds; long runs are averaged and say so."""

from __future__ import annotations

import pytest

from posttrain.report.series import columns, interval_of

ROWS = [{"step": step, "split": "train", "loss": float(step), "note": "x", "nothing": None} for step in range(1, 8)]


def test_short_runs_stay_as_they_are() -> None:
    found = columns(ROWS)
    assert found["steps"] == [1, 2, 3, 4, 5, 6, 7] and found["width"] == 1 and found["logged"] == 7
    assert found["values"]["loss"] == [1, 2, 3, 4, 5, 6, 7] and found["low"] == {}
    assert found["values"]["nothing"] == [None] * 7


def test_a_point_of_a_long_run_is_the_mean_of_several_with_the_extremes() -> None:
    found = columns([*ROWS[:3], {**ROWS[3], "loss": float("nan")}, *ROWS[4:]], most=3)
    assert found["width"] == 3 and found["steps"] == [3, 6, 7]
    assert found["values"]["loss"] == [2, 5.5, 7]  # (1 + 2 + 3) / 3; (5 + 6) / 2, since 4 is no number; 7
    assert found["low"]["loss"] == [1, 5, 7] and found["high"]["loss"] == [3, 6, 7]


def test_a_metric_that_some_rows_have() -> None:
    assert columns([{"step": 1, "a": 1}, {"step": 2, "b": 2.5}])["values"] == {"a": [1, None], "b": [None, 2.5]}


def test_intervals_are_those_of_an_eval() -> None:
    """p = 0.5, n = 100, stderr 0.05. Wilson: 0.5 ± 1.96 sqrt(0.25 / n + z2 / 4n^2) / (1 + z2 / n)."""
    row = {"step": 0, "pass@1": 0.5, "pass@1_stderr": 0.05, "reward": 2.0, "reward_stderr": 0.5, "loss": 1.0}
    z2 = 1.959964**2
    half = 1.959964 / (1 + z2 / 100) * (0.25 / 100 + z2 / 40000) ** 0.5
    assert interval_of(row, "pass@1", 100) == pytest.approx((0.5 - half, 0.5 + half), abs=1e-6)
    assert interval_of(row, "reward", 100) == pytest.approx((2 - 0.979982, 2 + 0.979982), abs=1e-5)
    assert interval_of(row, "loss", 100) is None
    found = columns([row], problems=100)
    assert found["low"]["reward"] == [pytest.approx(1.02002, abs=1e-5)] and "loss" not in found["low"]
    assert "pass@1_stderr" not in found["values"]
