"""A few real steps with a micro-batch of a given size, on the longest rows, in a process that may be ended.

``python -m posttrain.memory.attempt RUN`` trains what RUN/recipe.yaml says, without looks and checkpoints, and leaves
RUN/attempt.json.
"""

from __future__ import annotations

import dataclasses
import importlib
import os
import sys
import time
from pathlib import Path
from typing import Any

from posttrain.runs import directory

RESULT = "attempt.json"
STEPS = 2  # the optimizer's states are made in the first


def attempt(run: Path) -> dict[str, Any]:
    """Train STEPS steps of RUN/recipe.yaml; return whether they fit, rows a second, and on a GPU the peak in bytes.

    `before` is what this process had of main memory before it read the model.
    """
    import torch
    from transformers import TrainerCallback

    from posttrain.data.load import load_data
    from posttrain.data.packing import row_lengths
    from posttrain.model.resolve import resolve_model
    from posttrain.recipe.load import load_recipe
    from posttrain.recipe.schema import Eval
    from posttrain.stages.terminal import quiet
    from posttrain.stages.train import prepare

    quiet()
    importlib.import_module("trl")
    recipe = load_recipe(run / directory.RECIPE, stage=None).recipe
    stage = importlib.import_module(f"posttrain.stages.{recipe.stage}")
    recipe = recipe.model_copy(update={"eval": Eval()})
    rows = load_data(recipe.data, recipe.stage, seed=recipe.seed, parts=("train",))
    before = anonymous_memory(os.getpid())
    parent = resolve_model(recipe.model)
    job = prepare(recipe, run, parent, dataclasses.replace(rows, dev=[], problems=[]))
    settings: Any = job.arguments
    if not recipe.data.streaming and not getattr(settings, "packing", False):
        wanted = STEPS * settings.per_device_train_batch_size * settings.gradient_accumulation_steps
        longest = row_lengths(job.train_dataset).argsort(kind="stable")[::-1][:wanted]
        job = dataclasses.replace(job, train_dataset=job.train_dataset.select(longest))
    began: list[float] = []

    class Clock(TrainerCallback):
        def on_step_begin(self, args, state, control, **_: Any):
            began.append(time.monotonic())

    try:
        trainer = stage.make_trainer(job)
        trainer.add_callback(Clock())
        trainer.train()
    except torch.OutOfMemoryError:
        return {"fits": False, "before": before}
    spent = time.monotonic() - began[-1]
    a_step = settings.per_device_train_batch_size * settings.gradient_accumulation_steps
    peak = torch.cuda.max_memory_reserved() if torch.cuda.is_available() else None
    return {"fits": True, "before": before, "rows_a_second": a_step / spent, "peak": peak}


def anonymous_memory(pid: int) -> int:
    """Return the bytes of main memory that a process has for itself; 0 when it is gone. Pages of mapped files are not
    among them: the system can drop those."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii") as status:
            found = [line.split() for line in status if line.startswith(("RssAnon:", "RssShmem:"))]
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(int(words[1]) * 1024 for words in found)


def main() -> None:
    run = Path(sys.argv[1])
    with open("/proc/self/oom_score_adj", "w", encoding="ascii") as score:
        score.write("1000")  # whatever happens, this process is ended first
    directory.write_json(run / RESULT, attempt(run))


if __name__ == "__main__":
    main()
