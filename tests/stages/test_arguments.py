"""What is refused before anything loads, and what must not be."""

from __future__ import annotations

from pathlib import Path

import pytest

from posttrain.errors import UserError
from posttrain.model.resolve import Adapter, Parent
from posttrain.recipe.load import load_recipe
from posttrain.recipe.schema import Recipe
from posttrain.stages.arguments import check_reference

RLVR = Path(__file__).parents[2] / "recipes" / "quickstart" / "rlvr.yaml"


def recipe(*overrides: str) -> Recipe:
    return load_recipe(RLVR, stage="rlvr", overrides=overrides).recipe


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
