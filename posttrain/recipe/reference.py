"""docs/recipe.md, written from the schema: ``python -m posttrain.recipe.reference > docs/recipe.md``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from posttrain.recipe.explain import branches, is_model, model_tags
from posttrain.recipe.schema import Recipe
from posttrain.recipe.train_keys import ELSEWHERE, REFUSED

_INTRODUCTION = """\
# The recipe

<!-- Written by `python -m posttrain.recipe.reference`; a test holds it equal to the schema. -->

One stage is one YAML file. An unknown key anywhere is an error, and so is a key given twice. YAML is read by
its 1.2 rules: `1e-5` is a number, `on` and `yes` are text. Anchors, aliases, tags and several documents in a file
are not read: a recipe says all it means.

`--set key=value` changes any key from the command line (`--set train.learning_rate=1e-5`,
`--set data.train[0].limit=100`, `--set eval.k='[1, 8]'`), by the same rules. `--model`, `--out` and `--seed`
are short for `model.path`, `out` and `seed`, and win over `--set`.

Paths of data, graders, chat template and hostfile are relative to the recipe file; in `--set`, and always for
`out` and `model.path`, to the working directory.

`posttrain check RECIPE` finds every error at once. `posttrain recipe schema sft > sft.schema.json` writes a
JSON Schema; with `# yaml-language-server: $schema=sft.schema.json` on a recipe's first line, editors complete
its keys.
"""

_TRAIN = """\
## train

The keys of TRL's config for the stage, by TRL's names:
[SFTConfig](https://huggingface.co/docs/trl/sft_trainer#trl.SFTConfig),
[DPOConfig](https://huggingface.co/docs/trl/dpo_trainer#trl.DPOConfig),
[KTOConfig](https://huggingface.co/docs/trl/kto_trainer#trl.KTOConfig),
[GRPOConfig](https://huggingface.co/docs/trl/grpo_trainer#trl.GRPOConfig) for rlvr; an eval recipe has none.
TRL's documentation says what they do. These are not set here:
"""


_TYPES = {
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "string": "text",
    "null": "nothing",
}


def render() -> str:
    """Return docs/recipe.md."""
    parts = [_INTRODUCTION]
    for title, model in _sections("", Recipe):
        parts.append(f"## {title or 'Top level'}\n\n{_about(model)}{_table(model)}")
        if model is Recipe:
            parts.append(_TRAIN + "\n" + _refused())
    return "\n".join(parts)


Section = tuple[str, type[BaseModel]]


def _sections(key: str, model: type[BaseModel], seen: set[type] | None = None) -> Iterator[Section]:
    """Yield the title and the model of each section, outermost first; a model used twice comes once."""
    seen = {model} if seen is None else seen
    yield key, model
    for name, field in model.model_fields.items():
        found = [(suffix, inner) for suffix, inner in _models(field.annotation) if inner not in seen]
        seen.update(inner for _, inner in found)  # all of a union before what is inside one of them
        for suffix, inner in found:
            yield from _sections(f"{key}.{name}{suffix}".lstrip("."), inner, seen)


def _models(annotation: Any) -> Iterator[Section]:
    for branch in branches(annotation):
        if get_origin(branch) is list:
            for suffix, model in _models(get_args(branch)[0]):
                yield "".join([f"[]{suffix}", *(f": {tag}" for tag in model_tags(model))]), model
        elif get_origin(branch) is dict:
            for suffix, model in _models(get_args(branch)[1]):
                yield f".KEY{suffix}", model
        elif is_model(branch):
            yield "", branch


def _about(model: type[BaseModel]) -> str:
    text = " ".join((model.__doc__ or "").split())
    return f"{text}\n\n" if text and model is not Recipe else ""


def _table(model: type[BaseModel]) -> str:
    types = model.model_json_schema()["properties"]
    rows = [_row(name, field, types[name]) for name, field in model.model_fields.items()]
    return "\n".join(["| key | takes | default | |", "|---|---|---|---|", *rows]) + "\n"


def _row(name: str, field: FieldInfo, schema: dict[str, Any]) -> str:
    about = field.description or "Which of them this is."
    return f"| `{name}` | {_type(schema)} | {_default(field)} | {_cell(about)} |"


def _refused() -> str:
    reasons: dict[str, list[str]] = {}
    for name, reason in {**REFUSED, "vllm_*": REFUSED["use_vllm"]}.items():
        reasons.setdefault(reason, []).append(f"`{name}`")
    rows = [f"| {', '.join(names)} | {_cell(reason)} |" for reason, names in reasons.items()]
    other = [f"`{name}`: {reason}" for name, reason in ELSEWHERE.items()]
    tables = "\n".join(["| TRL's key | why, and where it is instead |", "|---|---|", *rows])
    return f"{tables}\n\nNames from elsewhere that are answered by name: " + "; ".join(other) + ".\n"


def _type(schema: dict[str, Any]) -> str:
    """Return a JSON Schema type in words."""
    if "anyOf" in schema or "oneOf" in schema:
        options = [_type(option) for option in schema.get("anyOf", schema.get("oneOf", []))]
        return " or ".join(option for option in dict.fromkeys(options) if option != "nothing")
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return _TYPES.get(schema.get("type", ""), "mapping") + _bounds(schema)


def _bounds(schema: dict[str, Any]) -> str:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    found = [f"{sign} {schema[name]:g}" for name, sign in signs.items() if name in schema]
    return f" {', '.join(found)}" if found else ""


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None or isinstance(value, BaseModel):
        return ""
    return f"`{json.dumps(value)}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    print(render(), end="")
