"""metrics.jsonl: one JSON object a logged step. Train and dev rows carry the same names, told apart by `split`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from posttrain.runs.whole import write_text

# The trainer's bookkeeping of a finished run; it belongs in run.json.
_NOT_METRICS = {
    "total_flos",
    "train_runtime",
    "train_samples_per_second",
    "train_steps_per_second",
    "train_loss",
}
_TIMING = ("runtime", "samples_per_second", "steps_per_second")


def metrics_row(logs: Mapping[str, Any], step: int) -> dict[str, Any] | None:
    """Return the row for one of the trainer's log calls, or None when it holds no metric.

    ``eval_`` is taken off the names of held-out metrics and becomes ``"split": "dev"``. A value that is not
    finite is written as null, since JSON has no NaN.
    """
    kept = {key: value for key, value in logs.items() if key not in _NOT_METRICS and key != "epoch"}
    if not kept or "train_runtime" in logs:  # TRL adds to the closing line what it has not logged yet
        return None
    dev = any(key.startswith("eval_") for key in kept)
    values = {key.removeprefix("eval_"): _finite(value) for key, value in kept.items()}
    values = {key: value for key, value in values.items() if not (dev and key in _TIMING)}
    row = {"step": step, "split": "dev" if dev else "train", "epoch": logs.get("epoch")}
    return {**row, **values}


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def append_row(path: Path, row: Mapping[str, Any]) -> None:
    """Add one row to metrics.jsonl."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a file of JSON lines, as metrics.jsonl, in order; a line cut off by a crash is left out."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").split("\n"):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows


def forget_after(path: Path, step: int) -> None:
    """Drop the rows after `step`: a resumed run writes them again."""
    kept = [row for row in read_rows(path) if row["step"] <= step]
    write_text(path, "".join(json.dumps(row) + "\n" for row in kept))


def dev_rows(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the looks at the held-out rows, in order of step."""
    return [row for row in rows if row["split"] == "dev"]
