"""Memory has run out: what took it, and what to change."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from posttrain.errors import OutOfMemory
from posttrain.memory.remedies import SMALLEST, batch_sets, divisors
from posttrain.recipe.schema import Recipe

if TYPE_CHECKING:
    from posttrain.memory.work import Longest
    from posttrain.model.resolve import Parent

_SAID = (
    "can't allocate memory",  # torch's CPU allocator
    "not enough memory",  # the same, on Windows
    "out of memory",  # CUDA, NCCL, HIP
    "CUBLAS_STATUS_ALLOC_FAILED",
    "Cannot allocate memory",  # ENOMEM
    "could not create a memory object",  # oneDNN
    "std::bad_alloc",
)


@dataclass
class Moment:
    """What a stage has come to, filled in as it goes."""

    longest: Longest | None = None
    trainer: Any = None

    def said(self) -> str:
        state = getattr(self.trainer, "state", None)
        if state is None or not state.max_steps:
            return "before the first step"
        return f"in step {state.global_step + 1}" if state.global_step < state.max_steps else "after the last step"


def is_shortage(error: BaseException) -> bool:
    """Whether an error says that memory has run out, of a GPU or of the machine."""
    if isinstance(error, MemoryError):  # a std::bad_alloc too, where C++ is called through pybind11
        return True
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError | OSError) and any(words in str(error) for words in _SAID)


@contextmanager
def explained(recipe: Recipe, parent: Parent) -> Iterator[Moment]:
    """While this holds, an error for lack of memory becomes OutOfMemory: what the step needed, and what to change."""
    moment = Moment()
    try:
        yield moment
    except (MemoryError, RuntimeError, OSError) as error:
        if not is_shortage(error):
            raise
        traceback.clear_frames(error.__traceback__)  # which hold on to memory
        when, moment.trainer = moment.said(), None
        raise _out_of_memory(recipe, parent, moment.longest, when) from error


def _out_of_memory(recipe: Recipe, parent: Parent, longest: Longest | None, when: str) -> OutOfMemory:
    from posttrain.stages.arguments import train_settings

    rows = train_settings(recipe)["per_device_train_batch_size"]
    length = f", the longest of {longest.row:,} tokens" if longest else ""
    message = f"out of memory {when}: {rows} rows at a time{length}"
    lines: list[str] = []
    if longest:
        try:
            forecast_said, lines = _forecast(recipe, parent, longest)
            message += f" ({forecast_said})"
        except Exception:  # there is no memory: it goes without
            lines = []
    if (smaller := smaller_batch(recipe)) and not lines:
        lines = ["--set " + " --set ".join(smaller)]
    if smaller and recipe.launch.on_out_of_memory == "stop":
        lines.append("--set launch.on_out_of_memory=smaller has that done by itself, from the last checkpoint on")
    if recipe.stage not in ("rlvr", "eval"):
        lines.append("`posttrain memory RECIPE --find-batch` tries what fits")
    return OutOfMemory(message, where="train.per_device_train_batch_size", fix="\n  ".join(lines))


def _forecast(recipe: Recipe, parent: Parent, longest: Longest) -> tuple[str, list[str]]:
    """Return what was foreseen, and what to change, the most effective first."""
    from posttrain.memory.device import this_device
    from posttrain.memory.forecast import forecast
    from posttrain.memory.remedies import remedies
    from posttrain.memory.report import advice, gigabytes
    from posttrain.memory.work import ranks_of

    device = this_device(ranks_of(recipe)[1])
    found = forecast(recipe, parent, longest, on_gpu=device.is_gpu)
    said = f"foreseen: {gigabytes(found.estimate.total)} GB; {gigabytes(device.free)} GB are free now"
    return said, [line.strip() for line in advice(remedies(found, parent, longest, device))]


def smaller_batch(recipe: Recipe) -> tuple[str, ...]:
    """Return the keys to set for a micro-batch of half the rows, or the next smaller one that divides a step, with the
    accumulation that keeps the rows of a step; nothing, where it cannot be smaller."""
    from posttrain.stages.arguments import train_settings

    settings = train_settings(recipe)
    each, rounds = settings["per_device_train_batch_size"], settings["gradient_accumulation_steps"]
    sizes = [rows for rows in divisors(each * rounds) if SMALLEST.get(recipe.stage, 1) <= rows <= each // 2]
    if not sizes:
        return ()
    sets = batch_sets(sizes[-1], each * rounds // sizes[-1])
    if "steps_per_generation" in recipe.train:  # counts micro-batches
        drawn = recipe.train["steps_per_generation"] * each
        if drawn % sizes[-1]:
            return ()
        sets += (f"train.steps_per_generation={drawn // sizes[-1]}",)
    if "per_device_eval_batch_size" in recipe.train and recipe.stage != "rlvr":
        held_out = min(recipe.train["per_device_eval_batch_size"], sizes[-1])
        sets += (f"train.per_device_eval_batch_size={held_out}",)
    return sets
