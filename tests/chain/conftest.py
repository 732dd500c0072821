"""The command line as a user runs it: a process of its own, in a directory of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

QUICKSTART = Path(__file__).parents[2] / "recipes" / "quickstart"
COMMAND = [sys.executable, "-m", "posttrain"]

# A few steps of each stage: enough to go through every part, too few to learn much.
SHORT = {
    "sft": {"max_steps": 3, "per_device_train_batch_size": 8, "gradient_accumulation_steps": 1},
    "dpo": {"max_steps": 3, "per_device_train_batch_size": 8, "gradient_accumulation_steps": 1},
    "kto": {"max_steps": 3, "per_device_train_batch_size": 8, "gradient_accumulation_steps": 1},
    "rlvr": {
        "max_steps": 2,
        "per_device_train_batch_size": 16,
        "gradient_accumulation_steps": 1,
        "num_generations": 4,
        "max_completion_length": 24,
    },
}
ROWS = {"sft": "sft", "dpo": "preferences", "kto": "feedback", "rlvr": "problems"}


def environment() -> dict[str, str]:
    """Return the environment without what another launcher may have left in it."""
    ranks = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    return {key: value for key, value in os.environ.items() if key not in ranks} | {"HF_HUB_OFFLINE": "1"}


@pytest.fixture
def posttrain(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs `posttrain ARGUMENTS` in the test's directory."""

    def run(*arguments: str, stdin: str = "", timeout_seconds: float = 300) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *arguments],
            cwd=tmp_path,
            env=environment(),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
        )

    return run


@pytest.fixture
def recipe(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a short recipe of a stage, with changes to its sections, and names it."""

    def write(stage: str, name: str = "", **sections) -> Path:
        document = {
            "stage": stage,
            "out": f"runs/{name or stage}",
            "seed": 3,
            "model": {"path": "builtin:tiny", "dtype": "float32"},
            "data": {
                "train": [{"path": str(QUICKSTART / "data" / f"{ROWS[stage]}.jsonl"), "limit": 64}],
                "dev": {"fraction": 0.125},
            },
            "train": SHORT[stage],
        }
        if stage == "rlvr":
            document |= {"graders": [{"type": "number"}], "eval": {"samples": 4, "k": [1, 4]}}
        for key, value in sections.items():
            old = document.get(key)
            document[key] = {**old, **value} if isinstance(old, dict) and isinstance(value, dict) else value
        path = tmp_path / f"{name or stage}.yaml"
        path.write_text(yaml.safe_dump(document), encoding="utf-8")
        return path

    return write
