"""What is refused before anything loads, and what must not be."""

from __future__ import annotations

from pathlib import Path

import pytest

from posttrain.errors import UserError
from posttrain.model.resolve import Adapter, Parent
from posttrain.recipe.load import load_recipe
from posttrain.recipe.schema import Recipe
from posttrain.stages.arguments import check_batches, check_reference, spread

QUICKSTART = Path(__file__).parents[2] / "recipes" / "quickstart"


def recipe(*overrides: str, stage: str = "rlvr") -> Recipe:
    return load_recipe(QUICKSTART / f"{stage}.yaml", stage=stage, overrides=overrides).recipe


def parent(**parts) -> Parent:
    return Parent("m", "hub", "org/m", "digest", "org/m", **parts)


def test_the_kl_reference_is_the_parent_or_refused() -> None:
    with_kl = "train.beta=0.01"
    hub = parent(revision="0123abc")  # resolve notes the commit of a hub model's main branch
    check_reference(recipe(with_kl), hub)
    for other in (parent(gguf_file="m.gguf"), parent(adapters=(Adapter("a"),))):
        check_reference(recipe(), other)
        check_reference(recipe(with_kl, "model.lora={r: 4}"), other)
        with pytest.raises(UserError, match="KL penalty"):
            check_reference(recipe(with_kl), other)
    with pytest.raises(UserError, match="main branch"):
        check_reference(recipe(with_kl, "model.revision=old"), hub)


@pytest.mark.parametrize(
    ("stage", "overrides", "message"),
    [
        ("sft", ("train.packing=true", "train.max_length=null"), "packing needs a length to pack to"),
        ("sft", ("train.eval_packing=true",), "held-out rows are packed where training rows are"),
        ("sft", ("train.packing=true", "train.use_cache=true"), "with a cache packed rows see each other"),
        ("kto", ("train.train_sampling_strategy=group_by_length",), "their order is fixed"),
        ("rlvr", ("train.train_sampling_strategy=group_by_length",), "TRL does not read this key"),
    ],
)
def test_what_does_not_go_with_lengths_is_refused(stage: str, overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_batches(recipe(*overrides, stage=stage), 1)


def test_what_goes_with_lengths_is_taken() -> None:
    by_length = "train.train_sampling_strategy=group_by_length"
    check_batches(recipe("train.packing=true", "train.eval_packing=true", stage="sft"), 1)
    check_batches(recipe(by_length, stage="dpo"), 1)
    check_batches(recipe(by_length, "train.loss_type=apo_zero_unpaired", stage="kto"), 1)


@pytest.mark.parametrize(
    ("stage", "policy", "message"),
    [
        ("dpo", "split", "rows of dpo cannot be split"),
        ("rlvr", "split", "rows of rlvr cannot be split"),
        ("rlvr", "drop", "rollout.max_prompt_tokens"),
    ],
)
def test_a_policy_for_long_rows_that_the_stage_has_not_got_is_refused(stage: str, policy: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        recipe(f"data.too_long={policy}", stage=stage)


def test_a_run_goes_on_with_as_many_rows_a_step() -> None:
    settings = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 6, "steps_per_generation": None}
    assert spread(settings, began=2, processes=1)["gradient_accumulation_steps"] == 12
    assert spread(settings, began=2, processes=4)["gradient_accumulation_steps"] == 3
    with pytest.raises(UserError, match="8 a device x 6 rounds x 2 processes") as caught:
        spread(settings, began=2, processes=5)
    assert str(caught.value).endswith("use 1 or 2 or 3 or 4 or 6 or 12")
    drawn = {**settings, "steps_per_generation": 4}
    assert spread(drawn, began=1, processes=2)["steps_per_generation"] == 2
    with pytest.raises(UserError, match="use 1 or 2"):
        spread(drawn, began=1, processes=3)
