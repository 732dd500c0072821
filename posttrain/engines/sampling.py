"""What every engine takes and gives.

An engine is a function from prompts to their completions, which come group by group as they are finished. Each
module beside this one has a function `engine` that makes one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from posttrain.recipe.schema import Recipe


@dataclass(frozen=True)
class Prompt:
    """One prompt: as messages, for an endpoint, and as token ids that end with the generation prompt, for a model
    that runs here."""

    messages: list[dict[str, Any]]
    ids: Sequence[int] = ()
    tools: list[dict[str, Any]] | None = None


@dataclass(frozen=True)
class Sampling:
    """How completions are drawn. `temperature` 0 is greedy; `batch_size` is completions decoded together. `logprobs`
    asks for each token's log-probability, which an endpoint does not give."""

    samples: int
    max_new_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    batch_size: int = 128
    seed: int = 0
    stop: tuple[str, ...] = field(default=())
    logprobs: bool = False

    @property
    def drawn(self) -> int:
        """How many completions of a prompt differ: greedy ones are all the same."""
        return self.samples if self.temperature > 0 else 1


@dataclass(frozen=True)
class Completion:
    """One sampled completion. `truncated`: it reached the length limit before an end-of-turn token. `error`: why an
    endpoint gave none; it then counts nowhere but as an error.

    `ids`: the tokens as they were drawn, the one that ended it included; an endpoint gives none. `logprobs`: for each
    of them ln p under the model at the sampling temperature (at 1, where that is 0), in float32, before `top_p` cuts
    the distribution: what GRPO's trainer recomputes from the same tokens. (TRL asks vLLM for `processed_logprobs`,
    which are taken after the cut; at `top_p` 1 the two are the same.)
    """

    text: str
    tokens: int
    truncated: bool
    error: str = ""
    ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] | None = None


MAX_NEW_TOKENS = 512
"""Of a completion in a look or an eval whose recipe does not say."""

Engine = Callable[[Sequence[Prompt], Sampling], Iterator[tuple[int, list[Completion]]]]
"""Yields (index of a prompt, its ``sampling.samples`` completions), each prompt once, in whatever order they end."""


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
        stop=tuple(rollout.stop),
    )


def training_sampling(recipe: Recipe, settings: dict[str, Any], *, samples: int, seed: int) -> Sampling:
    """Return how rlvr draws its training completions; `settings` are its TRL keys, defaults filled in."""
    return Sampling(
        samples=samples,
        max_new_tokens=settings["max_completion_length"],
        temperature=settings.get("temperature", 1.0),
        top_p=settings.get("top_p", 1.0),
        batch_size=recipe.rollout.batch_size,
        seed=seed,
    )


def not_followed(settings: Mapping[str, Any]) -> list[str]:
    """Return the TRL keys of rlvr's sampling that are set and that `training_sampling` does not follow."""
    plain = {
        "top_k": (None, 0),
        "min_p": (None, 0),
        "repetition_penalty": (None, 1.0),
        "generation_kwargs": (None, {}),
        "cache_implementation": (None,),
    }
    return [key for key, values in plain.items() if settings.get(key) not in values]


def not_sampled(settings: Mapping[str, Any]) -> list[str]:
    """Return a note for each TRL key of rlvr's sampling that `training_sampling` does not follow."""
    return [f"sampled without train.{key}: what training draws may differ a little" for key in not_followed(settings)]


def seed_of(prompt: Prompt, sample: int, seed: int) -> int:
    """Return the seed of one sample of one prompt: 31 bits that depend on nothing else, so that a resumed or a
    differently batched look draws the same."""
    said = json.dumps([seed, sample, list(prompt.ids) or prompt.messages], sort_keys=True, default=str)
    return int.from_bytes(hashlib.sha256(said.encode()).digest()[:4], "big") >> 1
