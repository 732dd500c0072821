"""Who draws RLVR's completions: our engine, or TRL's `generate` where the recipe samples as our engine does not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from posttrain.engines.sampling import not_followed
from posttrain.errors import UserError
from posttrain.recipe.schema import Recipe


def why_trl(settings: Mapping[str, Any], rows: int) -> str:
    """Return why TRL draws the completions, by the recipe's TRL keys (``train_settings``) and the `rows` that each
    process draws at a time; nothing, if our engine does."""
    if keys := not_followed(settings):
        return ", ".join(f"train.{key}" for key in keys)
    group = settings["num_generations"]
    return f"{rows} completions a process are not whole groups of {group}" if rows % group else ""


def check_drawing(recipe: Recipe, settings: Mapping[str, Any], rows: int) -> None:
    """Raise UserError where problems are to be chosen by their rewards, and our engine does not draw."""
    why = why_trl(settings, rows)
    for key in ("dynamic_sampling", "retire"):
        if why and getattr(recipe.rollout, key):
            raise UserError(
                f"problems can be chosen by their rewards only where posttrain's own engine draws, and TRL does: {why}",
                where=f"rollout.{key}",
                fix="leave it out, or what TRL draws for",
            )
