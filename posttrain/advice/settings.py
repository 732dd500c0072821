"""What a starter recipe trains with: batch, epochs and lengths that suit the rows."""

from __future__ import annotations

from typing import Any

from posttrain.advice.grading import Trial
from posttrain.advice.tokens import Lengths

HELD_OUT = 0.1
"""The share of rows that is held out where no file is."""
START_ROWS = 1000
GENERATIONS = 8
_SMALL = 500  # rows below which a step takes fewer of them, so that there are some dozens of steps
_COMPLETION = {"choice": 256, "string_check": 256, "instruction": 1024}


def train_settings(
    stage: str, rows: int, length: Lengths, trial: Trial | None = None, context: int | None = None
) -> dict[str, Any]:
    """TRL's keys for `rows` training rows (of rlvr: problems, beside those held out), none longer than
    `context`."""
    if stage == "rlvr":
        longest = _COMPLETION.get(trial.options["type"] if trial else "", 512)
        rounds = max(1, min(8, 1 << max(0, (rows // 2).bit_length() - 1)))  # no step asks for more problems than rows
        return {
            "max_steps": 100,
            "num_generations": GENERATIONS,
            "per_device_train_batch_size": 2 * GENERATIONS if rows > 1 else GENERATIONS,
            "gradient_accumulation_steps": rounds,
            "max_completion_length": longest if context is None else max(1, min(longest, context - length.p99)),
        }
    return {
        "num_train_epochs": 2 if stage == "sft" else 1,
        "per_device_train_batch_size": 8,
        "gradient_accumulation_steps": 1 if rows < _SMALL else 2 if stage == "sft" else 4,
        "max_length": min(max(128, -(-length.p99 // 64) * 64), context or length.p99 + 128),
    }
