"""Who draws RLVR's completions: our engines, or TRL's `generate` where the recipe samples as they do not."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from posttrain.engines.sampling import not_followed
from posttrain.engines.vllm import check_installed
from posttrain.errors import UserError
from posttrain.recipe.schema import Recipe

_WHY_TRANSFORMERS = " (rollout.engine: vllm draws with vLLM, which is installed; it takes memory beside the trainer)"


def why_trl(settings: Mapping[str, Any], rows: int) -> str:
    """Return why TRL draws the completions, by the recipe's TRL keys (``train_settings``) and the `rows` that each
    process draws at a time; nothing, if our engine does."""
    if keys := not_followed(settings):
        return ", ".join(f"train.{key}" for key in keys)
    group = settings["num_generations"]
    return f"{rows} completions a process are not whole groups of {group}" if rows % group else ""


def check_drawing(recipe: Recipe, settings: Mapping[str, Any], rows: int) -> None:
    """Raise UserError where problems are to be chosen by their rewards, and our engine does not draw; and for what
    vLLM cannot do, if it is to draw."""
    why = why_trl(settings, rows)
    if recipe.rollout.engine in ("vllm", "vllm-server"):
        _check_vllm(settings, why)
    if recipe.rollout.engine == "vllm":
        check_installed()
    for key in ("dynamic_sampling", "retire"):
        if why and getattr(recipe.rollout, key):
            raise UserError(
                f"problems can be chosen by their rewards only where posttrain's own engine draws, and TRL does: {why}",
                where=f"rollout.{key}",
                fix="leave it out, or what TRL draws for",
            )


def engine_line(recipe: Recipe) -> str:
    """Return who draws, where it is not TRL, and why."""
    if recipe.rollout.engine == "vllm":
        return "rollouts: vllm, in this process, with the trainer's weights"
    if recipe.rollout.url:
        return f"rollouts: the vllm server {recipe.rollout.url}, with the trainer's weights"
    why = "" if recipe.rollout.engine == "transformers" or not find_spec("vllm") else _WHY_TRANSFORMERS
    return f"rollouts: transformers, in this process{why}"


def _check_vllm(settings: Mapping[str, Any], why_trl: str) -> None:
    temperature, top_p = settings.get("temperature", 1.0), settings.get("top_p", 1.0)
    if why_trl:
        raise UserError(
            f"vllm draws whole groups, by temperature and top_p alone, and TRL would draw: {why_trl}",
            where="rollout.engine",
            fix="leave it out, or what TRL draws for",
        )
    if temperature != 1 and top_p != 1:
        raise UserError(
            "vllm tells the log-probabilities before the temperature, or after the cut of top_p, and the trainer needs "
            "those in between",
            where="train.top_p",
            fix="leave top_p or temperature at 1",
        )
    if temperature < 0.01:
        raise UserError("vllm takes 0.01 and more", where="train.temperature", fix="1.0 is the default")
