"""Who draws, and what is refused before anything loads."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from posttrain.errors import UserError
from posttrain.recipe.load import load_recipe
from posttrain.recipe.schema import Recipe
from posttrain.stages.arguments import check_batches, train_settings
from posttrain.stages.drawing import engine_line, why_trl

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


SERVER = ("rollout.engine=vllm-server", "rollout.url=http://127.0.0.1:8000")


@pytest.mark.parametrize(
    ("overrides", "where", "message"),
    [
        (("train.top_k=5",), "rollout.engine", "TRL would draw: train.top_k"),
        (
            ("train.per_device_train_batch_size=4",),
            "rollout.engine",
            "4 completions a process are not whole groups of 8",
        ),
        (("train.temperature=0.7", "train.top_p=0.9"), "train.top_p", "the trainer needs those in between"),
        (("train.temperature=0.001",), "train.temperature", "vllm takes 0.01 and more"),
    ],
)
def test_what_vllm_cannot_draw_is_refused(overrides: tuple[str, ...], where: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        check_batches(recipe(*SERVER, "train.num_generations=8", *overrides), 2)
    assert error.value.where == where


@pytest.mark.parametrize("override", ["train.temperature=0.7", "train.top_p=0.9", "rollout.dynamic_sampling=true"])
def test_a_server_draws_without_vllm_here(override: str) -> None:
    check_batches(recipe(*SERVER, override), 2)


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vllm is installed")
def test_vllm_in_this_process_must_be_installed() -> None:
    with pytest.raises(UserError, match="needs the package vllm") as error:
        check_batches(recipe("rollout.engine=vllm"), 1)
    assert error.value.where == "rollout.engine"


def test_a_run_says_who_draws_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    assert engine_line(recipe(*SERVER)).startswith("rollouts: the vllm server http://127.0.0.1:8000")
    assert engine_line(recipe("rollout.engine=vllm")).startswith("rollouts: vllm, in this process")
    for engine, installed, why in (("auto", True, True), ("auto", False, False), ("transformers", True, False)):
        monkeypatch.setattr("posttrain.stages.drawing.find_spec", lambda _, found=installed: found or None)
        line = engine_line(recipe(f"rollout.engine={engine}"))
        assert line.startswith("rollouts: transformers, in this process")
        assert ("it takes memory beside the trainer" in line) == why
