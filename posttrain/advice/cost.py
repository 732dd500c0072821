"""What a stage will cost: tokens, memory and hours, each a range.

Time is floating-point operations by the rate that this machine was measured at. A parameter costs 2 FLOP a token on the
way forward and 4 on the way back (Kaplan et al. 2020, arXiv 2001.08361, section 2.1), 2 backward where it is frozen.
Attention's own products, small at these lengths, are left out.

Memory is what `posttrain memory` foresees (posttrain/memory), rows at their 99th percentile.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from posttrain.advice.machine import Machine
from posttrain.advice.size import Size
from posttrain.advice.tokens import Lengths
from posttrain.recipe.schema import Data, Lora, Model, Recipe

if TYPE_CHECKING:
    from posttrain.model.resolve import Parent

LORA_RANK = 16

# FLOP a parameter and token, full and LoRA. DPO's reference reads both answers once more. KTO's KL term has each row
# read again with another's answer, and the reference reads both.
_FLOP = {"sft": (6, 4), "dpo": (8, 6), "kto": (12, 10), "rlvr": (6, 4)}
_RECOMPUTED = 2  # with checkpointing, the way forward twice
# The share of the measured rate that is had of it, tried on the built-in model. The rest goes to what stands between
# the products: the optimizer, looks at held-out rows, other work on the machine.
_TRAINING_RATE = (0.1, 0.6)
_SAMPLING_RATE = (0.04, 0.5)  # a token at a time is bound by reading the weights
_MEMORY_SPREAD = 1.25  # the estimate was within this of what was measured
_COMPLETION_SHARE = (0.25, 1.0)  # of max_completion_length

Range = tuple[float, float]


_START_SECONDS = 5.0
"""Of a run, beside its arithmetic: loading, the first steps, saving; of the quickstart's model on two cores."""


@dataclass(frozen=True)
class Cost:
    """Tokens that are read and trained, tokens that are sampled; bytes and hours of full fine-tuning and of LoRA."""

    tokens: Range
    sampled: Range
    memory_full: Range
    memory_lora: Range
    hours_full: Range
    hours_lora: Range


def tokens_of(stage: str, rows: int, length: Lengths, settings: Mapping[str, Any]) -> tuple[Range, Range]:
    """Tokens that a run reads, and those it samples."""
    if stage != "rlvr":
        tokens = settings["num_train_epochs"] * rows * min(length.mean, settings["max_length"] * _sides(stage))
        return (tokens, tokens), (0, 0)
    completions = settings["max_steps"] * _completions_a_step(settings)
    low, high = (completions * share * settings["max_completion_length"] for share in _COMPLETION_SHARE)
    prompts = completions * length.mean
    return (prompts + low, prompts + high), (low, high)


def tokens_a_batch(stage: str, length: Lengths, settings: Mapping[str, Any]) -> int:
    """Tokens of one forward pass in training, rows at their 99th percentile."""
    each = settings["max_length"] if stage != "rlvr" else length.p99 + settings["max_completion_length"]
    return settings["per_device_train_batch_size"] * min(each, length.p99 if stage != "rlvr" else each) * _sides(stage)


def cost_of(
    stage: str,
    rows: int,
    length: Lengths,
    settings: Mapping[str, Any],
    size: Size,
    machine: Machine,
    memory: tuple[int, int],
) -> Cost:
    """The cost of one stage with these settings; `memory` is what it takes in full and with adapters."""
    tokens, sampled = tokens_of(stage, rows, length, settings)
    full, lora = memory
    hours = [
        _hours(size.parameters, tokens, sampled, flop + _RECOMPUTED * machine.is_gpu, machine.rate)
        for flop in _FLOP[stage]
    ]
    return Cost(tokens, sampled, _about(full), _about(lora), hours[0], hours[1])


def _about(size: int) -> Range:
    return size / _MEMORY_SPREAD, size * _MEMORY_SPREAD


def _hours(parameters: int, tokens: Range, sampled: Range, flop: int, rate: float) -> Range:
    (slow, fast), (slow_sampling, fast_sampling) = _TRAINING_RATE, _SAMPLING_RATE

    def seconds(tokens: float, sampled: float, share: float, sampling_share: float) -> float:
        return parameters * (flop * tokens / share + 2 * sampled / sampling_share) / rate

    low, high = seconds(tokens[0], sampled[0], fast, fast_sampling), seconds(tokens[1], sampled[1], slow, slow_sampling)
    return (low + _START_SECONDS) / 3600, (high + _START_SECONDS) / 3600


def memory_of(
    parent: Parent, stage: str, length: Lengths, settings: Mapping[str, Any], *, on_gpu: bool
) -> tuple[int, int]:
    """Return the bytes that a stage takes on a device in full fine-tuning, and with adapters."""
    from posttrain.memory.forecast import forecast
    from posttrain.memory.work import Longest

    def bytes_with(lora: Lora | None) -> int:
        recipe = Recipe.model_construct(
            stage=stage, model=Model(path=parent.name, lora=lora), data=Data(), train=dict(settings)
        )
        row = length.p99 if stage == "rlvr" else min(length.p99, settings["max_length"])
        return forecast(recipe, parent, Longest(row), on_gpu=on_gpu).estimate.total

    return bytes_with(None), bytes_with(Lora(r=LORA_RANK))


def _completions_a_step(settings: Mapping[str, Any]) -> int:
    return int(settings["per_device_train_batch_size"] * settings["gradient_accumulation_steps"])


def _sides(stage: str) -> int:
    return 2 if stage == "dpo" else 1
