"""Marks read back: steps timed, warm-up left out, logs by step, and what is no whole run refused."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from measure.marks import largest_difference, read_marks, steady
from measure.processes import RunFailed


def lines(steps: int) -> list[dict[str, Any]]:
    """A run whose step n takes n seconds, a tenth of that of processor, with loss 1/n."""
    found: list[dict[str, Any]] = [{"event": "begin", "step": 0, "time": 100.0, "processor": 5.0, "threads": 2}]
    now, used = 100.0, 5.0
    for step in range(1, steps + 1):
        now, used = now + step, used + step / 10
        found.append({"event": "step", "step": step, "time": now, "processor": used})
        found.append({"event": "log", "step": step, "time": now, "processor": used, "logs": {"loss": 1 / step}})
    last = {"event": "log", "step": steps, "time": now, "processor": used}
    found.append({**last, "logs": {"train_runtime": 9.0, "loss": 77.0}})
    return [*found, {"event": "end", "step": steps, "time": now, "processor": used, "threads": 2, "cuda_bytes": 3}]


def write(path: Path, marks: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in marks))
    return path


def test_steps_are_timed_from_mark_to_mark(tmp_path: Path) -> None:
    marks = read_marks(write(tmp_path / "marks", lines(4)), steps=4)
    assert marks.seconds == [1, 2, 3, 4]
    assert marks.processor == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert marks.logged("loss") == [1, 1 / 2, 1 / 3, 1 / 4]
    assert (marks.first_step, marks.threads, marks.cuda_bytes) == (100.0, 2, 3)
    assert steady(marks.seconds, warmup=2) == 3.5


@pytest.mark.parametrize("spoil", [lambda m: m[:-1], lambda m: m[1:], lambda m: [*m, *m], lambda m: m[:3] + m[5:]])
def test_half_a_run_is_refused(tmp_path: Path, spoil) -> None:
    with pytest.raises(RunFailed, match="not 4 steps"):
        read_marks(write(tmp_path / "marks", spoil(lines(4))), steps=4)


def test_no_marks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match="0 steps"):
        read_marks(tmp_path / "none", steps=4)


def test_losses_are_compared_step_by_step() -> None:
    assert largest_difference([1.0, 2.0, 3.0], [1.0, 2.5, 2.9]) == 0.5
    assert largest_difference([1.0, math.nan], [1.0, 2.0]) == math.inf
    with pytest.raises(ValueError):
        largest_difference([1.0], [1.0, 2.0])
