"""What samples while a stage trains: the trainer's own model, or a copy of it in vLLM that is given its weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from posttrain.engines.sampling import Engine, Prompt
from posttrain.errors import UserError
from posttrain.recipe.schema import Recipe
from posttrain.runs import directory
from posttrain.stages.arguments import train_settings

if TYPE_CHECKING:
    from posttrain.engines.policy import Policy
    from posttrain.engines.vllm_server import Server
    from posttrain.stages.job import Job


@contextmanager
def sampler(trainer: Any, job: Job) -> Iterator[Engine]:
    """Give the engine that samples from the trainer's model as it is now. All ranks call this at once."""
    from posttrain.engines.transformers import engine

    with _whole(trainer) as model:
        if job.policy is None:
            yield engine(model, job.tokenizer)
            return
        job.policy.take(model)
    trainer.accelerator.wait_for_everyone()
    with job.policy.drawing() as sample:
        yield sample


def policy_of(
    recipe: Recipe, run: Path, model: Any, tokenizer: Any, rows: Any, prompts: Sequence[Prompt]
) -> Policy | Server | None:
    """Return the copy of the model that samples, where the recipe asks for one: of training `rows` and of `prompts` to
    look at. Raises UserError for a prompt that leaves no room for a completion."""
    rollout = recipe.rollout
    if rollout.engine not in ("vllm", "vllm-server"):
        return None
    from posttrain.engines import vllm_server
    from posttrain.engines.policy import Policy
    from posttrain.model.load import compute_dtype

    settings = train_settings(recipe)
    longest = max(len(ids) for ids in (*rows["prompt_ids"], *(prompt.ids for prompt in prompts)))
    length = longest + max(settings["max_completion_length"], rollout.max_new_tokens or 0)
    context = getattr(model.config.get_text_config(decoder=True), "max_position_embeddings", None) or length
    if longest >= context:
        raise UserError(
            f"a prompt has {longest:,} tokens, and the model takes {context:,} with the completion",
            where="rollout.max_prompt_tokens",
            fix=f"set it below {context}: problems with longer prompts are then left out",
        )
    length = min(length, context)
    dtype = str(compute_dtype(recipe.model)).removeprefix("torch.")
    temperature, top_p = settings.get("temperature", 1.0), settings.get("top_p", 1.0)
    if rollout.url:
        url = rollout.url.rstrip("/")
        tied = bool(model.config.get_text_config(decoder=True).tie_word_embeddings)
        vllm_server.check(url, length=length, temperature=temperature, top_p=top_p, tied=tied)
        return vllm_server.Server(url, run / directory.POLICY, model, tokenizer, dtype)
    return Policy(
        model,
        tokenizer,
        dtype,
        length=length,
        rows=rollout.batch_size,
        memory=rollout.gpu_memory,
        processed=temperature != 1,
    )


@contextmanager
def _whole(trainer: Any) -> Iterator[Any]:
    """Give the trainer's model as an engine can sample from it, whole in every rank."""
    from trl.models import unwrap_model_for_generation

    with unwrap_model_for_generation(
        trainer.model_wrapped,
        trainer.accelerator,
        gather_deepspeed3_params=True,  # ranks decode different numbers of steps
        gradient_checkpointing_kwargs=trainer.args.gradient_checkpointing_kwargs,
    ) as model:
        yield model
