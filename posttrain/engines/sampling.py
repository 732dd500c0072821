"""What every engine takes and gives, and which one samples."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from posttrain.recipe.schema import Recipe

# What `rollout.engine` may say, and the module whose `sample` it means.
ENGINES = {"auto": "transformers", "transformers": "transformers"}


@dataclass(frozen=True)
class Sampling:
    """How completions are drawn. `temperature` 0 is greedy; `batch_size` is completions decoded together."""

    samples: int
    max_new_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    batch_size: int = 128
    seed: int = 0
    engine: str = "auto"


@dataclass(frozen=True)
class Completion:
    """One sampled completion. `truncated`: it reached the length limit before an end-of-turn token."""

    text: str
    tokens: int
    truncated: bool


def sampling_of(recipe: Recipe, *, max_new_tokens: int, seed: int) -> Sampling:
    """Return how a recipe's held-out look samples; `max_new_tokens` is for a recipe that does not say."""
    rollout = recipe.rollout
    return Sampling(
        samples=recipe.eval.samples,
        max_new_tokens=rollout.max_new_tokens or max_new_tokens,
        temperature=rollout.temperature,
        top_p=rollout.top_p,
        batch_size=rollout.batch_size,
        seed=seed,
        engine=rollout.engine,
    )


def sample(
    model: Any,
    tokenizer: Any,
    prompt_ids: Sequence[Sequence[int]],
    sampling: Sampling,
    *,
    on_batch: Callable[[int], None] | None = None,
) -> list[list[Completion]]:
    """Return ``sampling.samples`` completions for each prompt, in the prompts' order, from the engine it names.

    `on_batch` is told how many completions were just finished.
    """
    engine = importlib.import_module(f"posttrain.engines.{ENGINES[sampling.engine]}")
    return engine.sample(model, tokenizer, prompt_ids, sampling, on_batch=on_batch)
