"""A model to be sampled from: found before anything is loaded, then opened as an engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from posttrain.data.records import Problem
from posttrain.endpoint import Endpoint, parse_endpoint
from posttrain.engines.sampling import Engine, Prompt, Sampling
from posttrain.importing import import_all
from posttrain.model.resolve import Parent, check_whole, resolve, resolve_model
from posttrain.recipe.load import LoadedRecipe
from posttrain.recipe.schema import Model, Recipe


@dataclass(frozen=True)
class Candidate:
    """A model under the name that the command line gave it: one that is loaded here, or one behind an endpoint.

    `digest` tells it from other models, as far as that can be known, and `run` is the run directory it came from.
    """

    label: str
    source: Parent | Endpoint

    @property
    def path(self) -> str:
        return str(self.source) if isinstance(self.source, Endpoint) else self.source.path

    @property
    def digest(self) -> str:
        return str(self.source) if isinstance(self.source, Endpoint) else self.source.digest

    @property
    def run(self) -> Path | None:
        return None if isinstance(self.source, Endpoint) else self.source.run


class Opened(NamedTuple):
    """A candidate ready to sample. `prompts` returns what its engine is asked for some problems, and the indices of
    those problems whose prompts it can take."""

    engine: Engine
    prompts: Callable[[Sequence[Problem]], tuple[list[int], list[Prompt]]]


def candidate(name: str, loaded: LoadedRecipe) -> Candidate:
    """Return the model called `name` on the command line: ``base`` is the recipe's own, ``URL#NAME`` is behind an
    endpoint. Raises UserError for none."""
    settings = loaded.recipe.model
    if name == "base":
        where = loaded.place("model.path")
        own = parse_endpoint(settings.path) or resolve_model(settings, where)
        return Candidate(name, own)
    return Candidate(name, parse_endpoint(name) or resolve(name, where="--model"))


def check_candidate(chosen: Candidate, recipe: Recipe, sampling: Sampling) -> None:
    """Raise UserError when the candidate is behind an endpoint that does not answer or does not take the sampling,
    or when the recipe's engine is not there or cannot take it."""
    if isinstance(chosen.source, Endpoint):
        from posttrain.engines.endpoint import agreed

        agreed(chosen.source, sampling)
        return
    check_whole(chosen.source, "--model")
    if recipe.rollout.engine == "vllm":
        from posttrain.engines import vllm

        vllm.check(chosen.source)


@contextmanager
def open_candidate(chosen: Candidate, recipe: Recipe) -> Iterator[Opened]:
    """Load the model for sampling, or reach its endpoint; at the end let go of it."""
    if isinstance(chosen.source, Endpoint):
        from posttrain.engines.endpoint import engine as endpoint_engine

        yield Opened(endpoint_engine(chosen.source), _messages)
        return
    from posttrain.data.tokenize import refuse_nothing_kept, tokenize_problems
    from posttrain.evals.held_out import prompts_of
    from posttrain.model.tokenizer import load_tokenizer
    from posttrain.stages.terminal import quiet

    import_all("torch", "datasets", "transformers.models.auto.modeling_auto", "transformers.modeling_utils")
    quiet()
    tokenizer = load_tokenizer(chosen.source, recipe.model)

    def prompts(problems: Sequence[Problem]) -> tuple[list[int], list[Prompt]]:
        longest, thinking = recipe.rollout.max_prompt_tokens, recipe.data.thinking
        done = tokenize_problems(problems, tokenizer, max_prompt_tokens=longest, thinking=thinking)
        refuse_nothing_kept(done)
        kept = [row["index"] for row in done.rows]
        return kept, prompts_of([problems[i] for i in kept], [row["prompt_ids"] for row in done.rows])

    if recipe.rollout.engine == "vllm":
        from posttrain.engines import vllm

        with vllm.engine(chosen.source, _dtype(recipe.model), tokenizer) as sample:
            yield Opened(sample, prompts)
        return
    from posttrain.engines.transformers import engine

    yield Opened(engine(_load_for_sampling(chosen.source, recipe.model, tokenizer), tokenizer), prompts)


def _messages(problems: Sequence[Problem]) -> tuple[list[int], list[Prompt]]:
    """Return the problems' messages, which an endpoint puts into its own template."""
    return list(range(len(problems))), [Prompt(problem.prompt, (), problem.tools) for problem in problems]


def _load_for_sampling(parent: Parent, settings: Model, tokenizer: Any) -> Any:
    """Return the model in the dtype it computes in, on the GPU where there is one: nothing is trained here."""
    import torch

    from posttrain.model.load import load_model

    to_sample = settings.model_copy(update={"dtype": _dtype(settings), "lora": None, "save": "merged"})
    model: Any = load_model(parent, to_sample, tokenizer)
    return model.to("cuda") if torch.cuda.is_available() and not settings.load_in_4bit else model


def _dtype(settings: Model) -> str:
    from posttrain.model.load import compute_dtype

    return str(compute_dtype(settings)).removeprefix("torch.")
