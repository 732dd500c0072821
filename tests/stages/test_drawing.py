"""Who draws, and what is refused before anything loads."""

from __future__ import annotations

from pathlib import Path

import pytest

from posttrain.errors import UserError
from posttrain.recipe.load import load_recipe
from posttrain.recipe.schema import Recipe
from posttrain.stages.arguments import check_batches, train_settings
from posttrain.stages.drawing import why_trl

QUICKSTART = Path(__file__).parents[2] / "recipes" / "quickstart"


def recipe(*overrides: str, stage: str = "rlvr") -> Recipe:
    return load_recipe(QUICKSTART / f"{stage}.yaml", stage=stage, overrides=overrides).recipe


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("temperature=0.7", ""),
        ("top_p=0.9", ""),
        ("top_k=0", ""),
        ("top_k=20", "train.top_k"),
        ("min_p=0.05", "train.min_p"),
        ("repetition_penalty=1.1", "train.repetition_penalty"),
        ("generation_kwargs={no_repeat_ngram_size: 3}", "train.generation_kwargs"),
    ],
)
def test_our_engine_draws_unless_it_samples_otherwise(key: str, why: str) -> None:
    assert why_trl(train_settings(recipe(f"train.{key}")), 128) == why


def test_a_group_split_over_processes_is_trls() -> None:
    settings = train_settings(recipe("train.num_generations=8"))
    assert why_trl(settings, 12) == "12 completions a process are not whole groups of 8"


@pytest.mark.parametrize("choosing", ["dynamic_sampling=true", "retire={}"])
def test_problems_are_chosen_only_where_our_engine_draws(choosing: str) -> None:
    check_batches(recipe(f"rollout.{choosing}"), 2)
    with pytest.raises(UserError, match=r"TRL does: train.top_k") as error:
        check_batches(recipe(f"rollout.{choosing}", "train.top_k=5"), 1)
    assert error.value.where == f"rollout.{choosing.partition('=')[0]}"
    split = ("train.per_device_train_batch_size=4", "train.num_generations=8")
    with pytest.raises(UserError, match="4 completions a process are not whole groups of 8"):
        check_batches(recipe(f"rollout.{choosing}", *split), 2)


@pytest.mark.parametrize(
    ("stage", "override", "message"),
    [
        ("rlvr", "rollout.max_refills=3", "bounds dynamic sampling"),
        ("rlvr", "rollout.retire={looks: 0}", "greater than or equal to 1|at least 1"),
        ("sft", "rollout.dynamic_sampling=true", "sft has no use for it"),
        ("eval", "rollout.retire={}", "eval has no use for it"),
    ],
)
def test_what_cannot_be_chosen_is_refused(stage: str, override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        recipe(override, stage=stage)
