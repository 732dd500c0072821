"""What a run will write, from shapes alone, and whether the disk has room for it."""

from __future__ import annotations

import math
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from posttrain.errors import UserError
from posttrain.memory.optimizer import state_bytes
from posttrain.recipe.schema import Recipe
from posttrain.runs import checkpoints
from posttrain.runs.room import megabytes
from posttrain.stages.terminal import say

if TYPE_CHECKING:
    from posttrain.memory.blueprint import Blueprint
    from posttrain.memory.work import Work

_BESIDE = 5_000_000
"""Bytes of a tokenizer and of what else lies beside the weights."""


@dataclass(frozen=True)
class Written:
    """Bytes of one checkpoint, of the finished model with its adapter, and of weights that a server reads."""

    checkpoint: int
    final: int
    policy: int


def written(recipe: Recipe, work: Work, blueprint: Blueprint) -> Written:
    """Return what a run writes: in a checkpoint what is trained and the optimizer's state of it; under ZeRO that in
    float32, and the weights twice, since DeepSpeed keeps them beside ours (stage 3: in the float32 ones alone)."""
    adapted = recipe.model.lora is not None
    trained, whole = blueprint.trained_parameters, blueprint.parameters
    weights = blueprint.trained_bytes if adapted else blueprint.weight_bytes
    itemsize = 4 if work.zero else blueprint.trained_bytes // max(trained, 1)
    optimizer = state_bytes(work.optim, blueprint.trained, embedded=blueprint.embedded, itemsize=itemsize)
    if work.zero:
        optimizer += 4 * trained + (weights if work.zero < 3 else 0)
    merged = whole * (work.weights if adapted else work.compute).itemsize + _BESIDE
    adapter = blueprint.trained_bytes + _BESIDE if adapted else 0
    return Written(
        checkpoint=weights + optimizer + _BESIDE,
        final=adapter if recipe.model.save == "adapter" else merged + adapter,
        policy=merged if recipe.rollout.url else 0,
    )


def most_written(each: Written, arguments: Any, limit: int | None, rows: int) -> int:
    """Return the most bytes that a run's directory holds at a time: the checkpoints that are kept, of which the best is
    one more, and the next or the finished model while it is written. `rows` are those of an epoch, 0 where max_steps
    says when the run ends."""
    steps = arguments.max_steps
    if steps <= 0:
        step = arguments.per_device_train_batch_size * arguments.gradient_accumulation_steps * arguments.world_size
        steps = math.ceil(rows / step * arguments.num_train_epochs)
    every = arguments.save_steps if arguments.save_steps >= 1 else max(1, steps * arguments.save_steps)
    saves = 0 if arguments.save_strategy == "no" else math.ceil(steps / every)
    kept = min(saves, limit + arguments.load_best_model_at_end) if limit and limit > 0 else saves
    return kept * each.checkpoint + max(each.checkpoint if saves > kept else 0, each.final) + each.policy


def say_disk(each: Written, run: Path, arguments: Any, limit: int | None, rows: int) -> None:
    """Say what the run will write of what is free, in the first rank. Raises UserError when that does not fit."""
    if os.environ.get("RANK", "0") != "0":
        return
    needed = max(0, most_written(each, arguments, limit, rows) - sum(checkpoints.sizes(run)))
    free = shutil.disk_usage(run).free
    if needed > free:
        raise UserError(
            f"the run writes about {megabytes(needed)} (each checkpoint {megabytes(each.checkpoint)}, the finished "
            f"model {megabytes(each.final)}), and {megabytes(free)} are free",
            where="out",
            fix="make room, name another directory with --out, or keep fewer checkpoints: train.save_total_limit",
        )
    say(f"disk: about {megabytes(needed)} of {megabytes(free)}")
