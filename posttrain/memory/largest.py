"""The largest micro-batch that fits, by trying: doubling until one does not, then between the two."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from posttrain.errors import UserError
from posttrain.memory.attempt import RESULT, anonymous_memory
from posttrain.recipe.load import dump_recipe
from posttrain.recipe.schema import Recipe
from posttrain.runs import directory

SHARE = 0.8
"""Of the main memory that is free: a try that takes more is ended, long before the system has to swap."""
_POLL_SECONDS = 0.005


@dataclass(frozen=True)
class Tried:
    """A micro-batch of `rows`, `rounds` of them a step. `peak` in bytes is a GPU's whole, or what the process came to
    have of main memory since before the model was read; `rows_a_second` is of the last step."""

    rows: int
    rounds: int
    fits: bool
    peak: int
    rows_a_second: float = 0.0


def search(sizes: Sequence[int], attempt: Callable[[int], Tried], room: float) -> list[Tried]:
    """Return the tries of `sizes`, which are in order: every second one up (that is: doubling, where they are powers of
    two), then by halves between the last that fits and the first that does not.

    A size is not tried when the growth from the two before it says that it would take more than `room` bytes.
    """
    tried: list[Tried] = []
    low, high, at = -1, len(sizes), 0
    while low < at < high:
        if (would := _foreseen(tried, sizes[at])) > room:
            tried.append(Tried(sizes[at], 0, False, int(would)))
        else:
            tried.append(attempt(sizes[at]))
        if tried[-1].fits:
            low = at
        else:
            high = at
        doubled = next((i for i, size in enumerate(sizes) if size >= 2 * sizes[at]), len(sizes) - 1)
        at = doubled if high == len(sizes) else (low + high) // 2
    return tried


def _foreseen(tried: Sequence[Tried], rows: int) -> float:
    """Return the peak of `rows` on the line through the two largest that fitted; 0 before there are two."""
    fitted = sorted((one.rows, one.peak) for one in tried if one.fits)
    if len(fitted) < 2:
        return 0.0
    (few, less), (many, more) = fitted[-2:]
    return more + (more - less) / (many - few) * (rows - many)


def try_rows(recipe: Recipe, rows: int, rounds: int, *, limit: int | None) -> Tried:
    """Train two steps of `rows` rows in a process of its own; `rounds` is what the recipe would accumulate.

    `limit` is what the process may take of main memory beyond its start; None where a GPU's own limit is what counts.
    Two rounds are as good as many: gradients stand from the first on.
    Raises UserError with the end of what the process said, where it fails for another reason than memory.
    """
    train = recipe.train | {
        "per_device_train_batch_size": rows,
        "gradient_accumulation_steps": min(rounds, 2),
        "max_steps": 2,
        "save_strategy": "no",
    }
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        directory.open_run(
            run,
            dump_recipe(recipe.model_copy(update={"train": train, "out": str(run)})),
            data_digest="",
            parent_digest="",
            fresh=True,
        )
        with (run / "output").open("w+", encoding="utf-8") as output:
            command = [sys.executable, "-m", "posttrain.memory.attempt", str(run)]
            process = subprocess.Popen(command, stdout=output, stderr=output, env=os.environ | {"WORLD_SIZE": "1"})
            peak, ended = _watch(process, limit)
            output.seek(0)
            said = output.read()
        if (run / RESULT).exists():
            result = directory.read_json(run / RESULT)
            grown = max(peak - result["before"], 0)
            return Tried(rows, rounds, result["fits"], result.get("peak") or grown, result.get("rows_a_second", 0.0))
    if ended or process.returncode == -9:
        return Tried(rows, rounds, False, peak)
    raise UserError(f"trying {rows} rows failed:\n{said[-2000:]}", where="--find-batch")


def _watch(process: subprocess.Popen[bytes], limit: int | None) -> tuple[int, bool]:
    """Wait for a process; return the most that it had of main memory, and whether it was ended for passing `limit`."""
    peak = 0
    try:
        while process.poll() is None:
            peak = max(peak, anonymous_memory(process.pid))
            if limit is not None and peak > limit:
                process.kill()
                process.wait()
                return peak, True
            time.sleep(_POLL_SECONDS)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    return peak, False
