"""What is written from the schema: docs/recipe.md and the JSON Schema."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from posttrain.recipe.json_schema import json_schema
from posttrain.recipe.load import load_recipe
from posttrain.recipe.reference import render
from posttrain.recipe.schema import Recipe
from posttrain.recipe.shipped import recipes_dir

RECIPES = sorted(recipes_dir().glob("*/*.yaml"))
REFERENCE = Path(__file__).parents[2] / "docs" / "recipe.md"


def test_the_reference_is_that_of_the_schema():
    assert REFERENCE.read_text(encoding="utf-8") == render(), (
        "run: python -m posttrain.recipe.reference > docs/recipe.md"
    )


def test_the_reference_describes_every_key():
    rows = [line for line in render().splitlines() if line.startswith("| `")]
    assert len(rows) > 50
    assert [row for row in rows if row.endswith("|  |")] == []


def test_the_schema_is_strict_everywhere():
    schema = json_schema("sft")
    assert schema["additionalProperties"] is False
    sections = [section for section in schema["$defs"].values() if section.get("type") == "object"]
    assert len(sections) > 10
    assert all(section["additionalProperties"] is False for section in sections)


def test_the_schema_of_a_stage_has_its_trl_keys():
    train = {stage: json_schema(stage)["properties"]["train"]["properties"] for stage in ("sft", "dpo", "rlvr", "eval")}
    assert train["sft"]["learning_rate"]["type"] == "number"
    assert train["sft"]["learning_rate"]["default"] == 2e-5
    assert "cosine" in train["sft"]["lr_scheduler_type"]["enum"]
    assert train["sft"]["max_length"]["anyOf"] == [{"type": "integer"}, {"type": "null"}]
    assert "beta" in train["dpo"] and "beta" not in train["sft"]
    assert "num_generations" in train["rlvr"] and "output_dir" not in train["rlvr"]
    assert train["eval"] == {}


def test_the_schema_of_every_stage_chooses_by_the_stage():
    choices = json_schema()["allOf"]
    assert [choice["if"]["properties"]["stage"]["const"] for choice in choices] == [
        "sft",
        "dpo",
        "kto",
        "rlvr",
        "eval",
    ]
    assert json.dumps(json_schema())  # plain JSON


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_the_schema_knows_the_keys_of_the_shipped_recipes(path):
    given = load_recipe(path, stage=None).recipe.model_dump(mode="json", exclude_unset=True)
    schema = json_schema(given["stage"])
    assert set(given) <= set(schema["properties"])
    assert set(given.get("train", {})) <= set(schema["properties"]["train"]["properties"])


def test_every_section_of_the_schema_is_documented():
    for name in Recipe.model_fields:
        assert f"`{name}`" in render()
