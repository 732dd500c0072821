"""The recipe's JSON Schema, for editors that complete and check keys while one types."""

from __future__ import annotations

from typing import Any, get_args

from posttrain.recipe.schema import Recipe, Stage
from posttrain.recipe.train_keys import allowed_keys
from posttrain.recipe.trl_keys import TrlKey


def json_schema(stage: str | None = None) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a recipe of `stage`, or of any; TRL's keys are in `train`."""
    schema = Recipe.model_json_schema()
    properties = schema["properties"]
    if stage is not None:
        properties["stage"] = {**properties["stage"], "enum": [stage]}
        properties["train"] = train_schema(stage)
    else:
        schema["allOf"] = [
            {
                "if": {"properties": {"stage": {"const": one}}, "required": ["stage"]},
                "then": {"properties": {"train": train_schema(one)}},
            }
            for one in get_args(Stage)
        ]
    title = "posttrain recipe" if stage is None else f"posttrain recipe: {stage}"
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": title}


def train_schema(stage: str) -> dict[str, Any]:
    """Return the schema of `train`: the TRL keys a recipe of `stage` may set; none for eval."""
    keys = {} if stage == "eval" else allowed_keys(stage)
    return {
        "type": "object",
        "description": Recipe.model_fields["train"].description,
        "properties": {name: _key_schema(key) for name, key in keys.items()},
        "additionalProperties": False,
    }


def _key_schema(key: TrlKey) -> dict[str, Any]:
    schema: dict[str, Any] = {"description": key.help}
    if len(key.takes) == 1:
        schema.update(key.takes[0])
    elif key.takes:
        schema["anyOf"] = list(key.takes)
    if key.default is not None:
        schema["default"] = key.default
    return schema
