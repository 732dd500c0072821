"""What is run: a few steps of a stage on the built-in model, saving and looking often, with one thread a process."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).parents[3]
RUN, RECIPE = "run", "recipe.yaml"
STEPS, SAVE_EVERY, LOOK_EVERY = 12, 2, 3
BATCH = 8
ROWS = 64
"""Of these 8 are held out; the rest are seen more than once within the steps, so that the order of a second round
counts too."""

STAGES = ("sft", "dpo", "kto", "rlvr")
_DATA = {"sft": "sft", "dpo": "preferences", "kto": "feedback", "rlvr": "problems"}
_LEARNING_RATE = {"sft": 1e-3, "dpo": 2e-4, "kto": 2e-4, "rlvr": 1e-4}
_RANKED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Job:
    """One training: `set` are further `--set` options of the command; `forked`: see forks.py."""

    stage: str
    lora: bool = False
    processes: int = 1
    zero: int = 0
    set: tuple[str, ...] = ()
    forked: bool = False

    def __str__(self) -> str:
        ranks = f" {self.processes} processes" + (f" zero {self.zero}" if self.zero else "")
        return self.stage + (" lora" if self.lora else "") + (ranks if self.processes > 1 else "")


def recipe(job: Job) -> dict[str, Any]:
    """Return the recipe as a document. Rates are high, so that a step done twice or left out shows."""
    rows = 2 * BATCH if job.stage == "rlvr" else BATCH
    train: dict[str, Any] = {
        "max_steps": STEPS,
        "save_steps": SAVE_EVERY,
        "learning_rate": _LEARNING_RATE[job.stage] * (5 if job.lora else 1),
        "per_device_train_batch_size": rows // 2 // job.processes,
        "gradient_accumulation_steps": 2,
    }
    document: dict[str, Any] = {
        "stage": job.stage,
        "out": RUN,
        "seed": 3,
        "model": {"path": "builtin:tiny", "dtype": "float32"},
        "data": {
            "train": [{"path": str(REPOSITORY / f"recipes/quickstart/data/{_DATA[job.stage]}.jsonl"), "limit": ROWS}],
            "dev": {"fraction": 0.125},
        },
        "train": train,
        "eval": {"every": LOOK_EVERY},
        "launch": {"processes": job.processes, "zero": job.zero},
    }
    if job.lora:
        document["model"]["lora"] = {"r": 4, "alpha": 8, "dropout": 0.1}
    if job.stage == "rlvr":
        train |= {"num_generations": 4, "max_completion_length": 24}
        document |= {"graders": [{"type": "number"}], "rollout": {"retire": {}}}
        document["eval"] |= {"samples": 4, "k": [1, 4]}
    return document


def write_recipe(job: Job, folder: Path) -> None:
    """Make the folder with the job's recipe in it."""
    folder.mkdir(parents=True)
    (folder / RECIPE).write_text(yaml.safe_dump(recipe(job), sort_keys=False), encoding="utf-8")


def arguments(job: Job, *more: str) -> list[str]:
    """Return what comes after `posttrain`; `more` are options of this start alone."""
    return [job.stage, RECIPE, *(word for each in job.set for word in ("--set", each)), *more]


def command(job: Job, *more: str) -> list[str]:
    """Return the command line of a start."""
    return [sys.executable, "-m", "posttrain", *arguments(job, *more)]


def environment(folder: Path, mark: str) -> dict[str, str]:
    """Return our own environment with this checkout first, caches in the folder, and `mark` by which every process of
    the run is found again."""
    paths = [str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
    kept = {key: value for key, value in os.environ.items() if key not in _RANKED}
    return kept | {
        "PYTHONPATH": os.pathsep.join(paths),
        "POSTTRAIN_CACHE": str(folder / "cache"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "POSTTRAIN_FAULTS": mark,
    }
