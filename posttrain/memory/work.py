"""What a stage holds at a time, from its recipe and the lengths of its rows: the numbers that memory goes by."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from posttrain.engines.sampling import MAX_NEW_TOKENS
from posttrain.memory.optimizer import DEFAULT
from posttrain.recipe.schema import Recipe

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Work:
    """One device's share of a stage.

    `rows` sequences of at most `width` tokens go through one pass of training (0: nothing is trained); `sampled` of
    `sampled_width` tokens are decoded together (0: none). `accumulates`: gradients stand while a pass begins.
    `copied_reference`: a second copy of the weights. `ranks` are all processes.
    """

    rows: int
    width: int
    sampled: int
    sampled_width: int
    checkpointing: bool
    accumulates: bool
    optim: str
    weights: torch.dtype
    compute: torch.dtype
    on_gpu: bool
    copied_reference: bool = False
    ranks: int = 1
    zero: int = 0
    offload: tuple[str, ...] = ()

    @property
    def autocast(self) -> torch.dtype | None:
        """What products are converted to, where the weights have another dtype. DeepSpeed converts the weights."""
        import torch

        return None if self.zero or self.compute == torch.float32 else self.compute


@dataclass(frozen=True)
class Longest:
    """The most tokens of a training row (of rlvr: of a prompt) and of a held-out problem's prompt, and how many
    problems and training rows there are (0 rows: not known)."""

    row: int
    prompt: int = 0
    problems: int = 0
    rows: int = 0


def work_of(recipe: Recipe, longest: Longest, *, on_gpu: bool, ranks: int = 1) -> Work:
    """Return what one device holds for `recipe`, defaults filled in as a run fills them in."""
    import torch

    from posttrain.model.load import compute_dtype, weights_dtype
    from posttrain.stages.arguments import train_settings

    trains = recipe.stage != "eval"
    settings: dict[str, Any] = train_settings(recipe) if trains else {}
    sampled, sampled_width = _sampled(recipe, settings, longest)
    compute = compute_dtype(recipe.model)
    if on_gpu and recipe.model.dtype == "auto":  # as on the GPUs that multiply it fast, whatever is here
        compute = torch.bfloat16
    weights = compute if not trains or recipe.model.lora or recipe.launch.zero else weights_dtype(recipe.model)
    return Work(
        rows=settings.get("per_device_train_batch_size", 0) * (2 if recipe.stage == "dpo" else 1),
        width=_width(recipe.stage, settings, longest),
        sampled=sampled,
        sampled_width=sampled_width,
        checkpointing=settings.get("gradient_checkpointing", on_gpu),
        accumulates=settings.get("gradient_accumulation_steps", 1) > 1,
        optim=settings.get("optim", DEFAULT),
        weights=weights,
        compute=compute,
        on_gpu=on_gpu,
        copied_reference=_copies_reference(recipe, settings, longest.rows, ranks),
        ranks=ranks,
        zero=recipe.launch.zero,
        offload=tuple(recipe.launch.offload),
    )


def ranks_of(recipe: Recipe) -> tuple[int, int]:
    """Return how many processes a run of the recipe would have, in all and on this machine."""
    from posttrain.launch.gpus import visible_gpus
    from posttrain.launch.hosts import read_hostfile

    if "WORLD_SIZE" in os.environ:
        ranks = int(os.environ["WORLD_SIZE"])
        return ranks, int(os.environ.get("LOCAL_WORLD_SIZE", ranks))
    launch = recipe.launch
    if launch.hostfile:
        hosts = read_hostfile(launch.hostfile, where="launch.hostfile")
        each = [slots if launch.processes == "auto" else launch.processes for slots in hosts.values()]
        return sum(each), max(each)
    here = max(visible_gpus(os.environ), 1) if launch.processes == "auto" else launch.processes
    return here, here


def _width(stage: str, settings: dict[str, Any], longest: Longest) -> int:
    if stage == "rlvr":
        return int(longest.row + settings["max_completion_length"])
    if settings.get("packing"):
        return int(settings["max_length"])
    return longest.row


def _sampled(recipe: Recipe, settings: dict[str, Any], longest: Longest) -> tuple[int, int]:
    """Return how many completions are decoded together, and their tokens, prompt included: the wider of a look and
    of RLVR's rollouts."""
    rollout = recipe.rollout
    found = [(0, 0)]
    if longest.problems:
        drawn = recipe.eval.samples if rollout.temperature > 0 else 1
        new = rollout.max_new_tokens or settings.get("max_completion_length") or MAX_NEW_TOKENS
        found.append((min(rollout.batch_size, longest.problems * drawn), longest.prompt + new))
    if recipe.stage == "rlvr":
        rounds = settings.get("steps_per_generation") or settings["gradient_accumulation_steps"]
        completions = settings["per_device_train_batch_size"] * rounds
        width = longest.row + settings["max_completion_length"]
        found.append((min(rollout.batch_size, completions), width))
    return max(found, key=_product)


def _copies_reference(recipe: Recipe, settings: dict[str, Any], rows: int, ranks: int) -> bool:
    """Whether a second model stands beside the one that is trained: with adapters the reference is the model without
    them, and log-probabilities that are computed beforehand, in a run that reads its `rows`, need none."""
    if recipe.model.lora or recipe.stage not in ("dpo", "kto", "rlvr"):
        return False
    if recipe.stage == "rlvr":
        return bool(settings.get("beta"))
    from posttrain.stages.arguments import reads_reference_beforehand

    return not reads_reference_beforehand(settings, rows, ranks)


def _product(pair: Sequence[int]) -> int:
    return pair[0] * pair[1]
