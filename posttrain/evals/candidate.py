"""A model to be sampled from: found before anything is loaded, then opened as an engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from posttrain.data.records import Problem
from posttrain.engines.sampling import Engine, Prompt
from posttrain.model.resolve import Parent, resolve
from posttrain.recipe.load import LoadedRecipe
from posttrain.recipe.schema import Model, Recipe


@dataclass(frozen=True)
class Candidate:
    """A model under the name that the command line gave it."""

    label: str
    parent: Parent

    @property
    def digest(self) -> str:
        """What tells it from other models."""
        return self.parent.digest


class Opened(NamedTuple):
    """A candidate ready to sample. `prompts` returns what its engine is asked for some problems, and the indices of
    those problems whose prompts it can take."""

    engine: Engine
    prompts: Callable[[Sequence[Problem]], tuple[list[int], list[Prompt]]]


def candidate(name: str, loaded: LoadedRecipe) -> Candidate:
    """Return the model called `name` on the command line; ``base`` is the recipe's own. Raises UserError for none."""
    settings = loaded.recipe.model
    if name == "base":
        where = loaded.place("model.path")
        return Candidate(name, resolve(settings.path, revision=settings.revision, where=where))
    return Candidate(name, resolve(name, where="--model"))


def open_candidate(chosen: Candidate, recipe: Recipe) -> Opened:
    """Load the model for sampling."""
    from posttrain.data.tokenize import tokenize_problems
    from posttrain.engines.transformers import engine
    from posttrain.evals.held_out import prompts_of
    from posttrain.model.tokenizer import load_tokenizer
    from posttrain.stages.terminal import quiet

    quiet()
    tokenizer = load_tokenizer(chosen.parent, recipe.model)
    model = _load_for_sampling(chosen.parent, recipe.model, tokenizer)

    def prompts(problems: Sequence[Problem]) -> tuple[list[int], list[Prompt]]:
        done = tokenize_problems(problems, tokenizer, max_prompt_tokens=recipe.rollout.max_prompt_tokens)
        kept = [row["index"] for row in done.rows]
        return kept, prompts_of([problems[i] for i in kept], [row["prompt_ids"] for row in done.rows])

    return Opened(engine(model, tokenizer), prompts)


def _load_for_sampling(parent: Parent, settings: Model, tokenizer: Any) -> Any:
    """Return the model in the dtype it computes in, on the GPU where there is one: nothing is trained here."""
    import torch

    from posttrain.model.load import compute_dtype, load_model

    dtype = str(compute_dtype(settings)).removeprefix("torch.")
    to_sample = settings.model_copy(update={"dtype": dtype, "lora": None, "save": "merged"})
    model: Any = load_model(parent, to_sample, tokenizer)
    return model.to("cuda") if torch.cuda.is_available() and not settings.load_in_4bit else model
