"""What `injected/sitecustomize.py` wrote about a run: the times of its steps and what each logged."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from measure.processes import RunFailed


@dataclass(frozen=True)
class Marks:
    """A run by its steps, the first of them at index 0.

    `seconds` and `processor` are what each step took, by the clock and of the training process's own time; `logs` what
    it logged; `first_step` when the first one began, in seconds since the epoch.
    """

    first_step: float
    seconds: list[float]
    processor: list[float]
    logs: list[dict[str, float]]
    threads: int
    cuda_bytes: int

    def logged(self, name: str) -> list[float]:
        return [logs[name] for logs in self.logs]


def read_marks(path: Path, steps: int) -> Marks:
    """Return the marks in a file; raises RunFailed unless they are of one whole training of so many steps."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    begins = [line for line in lines if line["event"] == "begin"]
    ends = [line for line in lines if line["event"] == "end"]
    done = [line for line in lines if line["event"] == "step"]
    if len(begins) != 1 or len(ends) != 1 or [line["step"] for line in done] != [*range(1, steps + 1)]:
        raise RunFailed(
            f"{path} has {len(begins)} beginnings, {len(done)} steps and {len(ends)} ends, not {steps} steps"
        )
    times = [begins[0], *done]
    logs: dict[int, dict[str, float]] = {step: {} for step in range(1, steps + 1)}
    for line in lines:
        if line["event"] == "log" and "train_runtime" not in line["logs"] and line["step"] in logs:
            logs[line["step"]] |= line["logs"]
    return Marks(
        first_step=begins[0]["time"],
        seconds=[now["time"] - before["time"] for before, now in pairwise(times)],
        processor=[now["processor"] - before["processor"] for before, now in pairwise(times)],
        logs=[logs[step] for step in sorted(logs)],
        threads=begins[0]["threads"],
        cuda_bytes=ends[0]["cuda_bytes"],
    )


def steady(values: Sequence[float], warmup: int) -> float:
    """Return the mean of a run's steps without the first `warmup`."""
    kept = values[warmup:]
    return math.fsum(kept) / len(kept)


def largest_difference(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return how far two runs' losses are apart where they are furthest; infinite if one of them is no number."""
    apart = [abs(a - b) for a, b in zip(ours, theirs, strict=True)]
    return math.inf if any(map(math.isnan, apart)) else max(apart)
