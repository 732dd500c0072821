"""pydantic's validation errors in plain words, each at the key where the user can mend it."""

from __future__ import annotations

import json
import re
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from posttrain.errors import UserError, did_you_mean
from posttrain.recipe.yaml_lines import Loc

_MAX_CHOICES = 8

_EXPECTED = {
    "int": "a whole number",
    "float": "a number",
    "finite_number": "a finite number",
    "bool": "true or false",
    "string": "text",
    "list": "a list",
    "tuple": "a list",
    "dict": "a mapping",
    "model": "a mapping",
    "none": "null",
    "greater_than": "above {gt:g}",
    "greater_than_equal": "at least {ge:g}",
    "less_than": "below {lt:g}",
    "less_than_equal": "at most {le:g}",
    "string_too_short": "text that is not empty",
    "string_pattern_mismatch": "text that matches {pattern}",
}


def shown(value: Any) -> str:
    """Return `value` as a short piece of the recipe to quote in a message."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "…"


def choices(values: Iterable[Any]) -> str:
    """Return "'a', 'b' or 'c'", shortened when there are many."""
    words = [f"'{value}'" if isinstance(value, str) else shown(value) for value in values]
    if len(words) > _MAX_CHOICES:
        return ", ".join(words[:_MAX_CHOICES]) + " …"
    return " or ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]


def explain(errors: Sequence[Any], data: Any, model: type[BaseModel], place: Callable[[Loc], str]) -> list[UserError]:
    """Return one UserError for each place in `data` that pydantic's `errors` (of `model`) complain of.

    The branches of a union complain each on their own: those at one key are joined by "or", and one that
    stopped at an ancestor gives way to one that looked further in.
    """
    by_key: dict[Loc, list[Any]] = {}
    for error in errors:
        by_key.setdefault(_key(error, data), []).append(error)
    around = {key[:depth] for key in by_key for depth in range(len(key))}
    deepest = [key for key in by_key if key not in around]
    return [UserError(_message(by_key[key], key, data, model), where=place(key)) for key in deepest]


def unknown_keys(errors: Sequence[Any], data: Any, model: type[BaseModel]) -> list[tuple[Loc, str | None]]:
    """Return the keys that `model` does not have, each with the known key that it is nearest to."""
    locs = [_key(error, data) for error in errors if error["type"] == "extra_forbidden"]
    return [(loc, _nearest(loc, data, model)) for loc in dict.fromkeys(locs)]


def value_at(data: Any, loc: Loc) -> Any:
    """Return what stands at `loc` in plain data; None where there is nothing."""
    for part in loc:
        if isinstance(part, int) and isinstance(data, list) and part < len(data):
            data = data[part]
        else:
            data = data.get(part) if isinstance(data, dict) else None
    return data


def _key(error: Any, data: Any) -> Loc:
    """Return the error's place in the data: pydantic's own place without the names of union branches."""
    key: list[str | int] = []
    for depth, part in enumerate(error["loc"]):
        last = depth == len(error["loc"]) - 1
        absent = isinstance(data, dict) and last and error["type"] == "missing"
        if isinstance(part, int) or absent or (isinstance(data, dict) and part in data):
            key.append(part)
            data = value_at(data, (part,))
    if error["type"].startswith("union_tag"):
        key.append("type")
    return tuple(key)


def _message(errors: Sequence[Any], key: Loc, data: Any, model: type[BaseModel]) -> str:
    first = errors[0]
    if first["type"] == "extra_forbidden":
        nearest = _nearest(key, data, model)
        known = ", ".join(_fields(key[:-1], data, model))
        return f"unknown key. Did you mean '{nearest}'?" if nearest else f"unknown key. Known here: {known}"
    if first["type"] == "missing":
        field = _fields(key[:-1], data, model).get(str(key[-1]))
        return f"missing. {field.description}" if field and field.description else "missing"
    if first["type"] == "value_error":
        return str(first["ctx"]["error"])
    if first["type"] == "union_tag_not_found":
        return f"missing: {choices(_tags(key[:-1], data, model))}"
    return _expectation(errors, value_at(data, key))


def _expectation(errors: Sequence[Any], value: Any) -> str:
    words = dict.fromkeys(_expected(error) for error in errors)
    options = [option for error in errors for option in _options(error)]
    near = did_you_mean(value, options) if isinstance(value, str) else ""
    return f"must be {' or '.join(words)}, not {shown(value)}" + (f".{near}" if near else "")


def _options(error: Any) -> list[str]:
    """Return the words that the error's branch takes, where it takes only certain ones."""
    context = error.get("ctx", {})
    listed = context.get("expected_tags", context.get("expected", ""))
    return re.findall(r"'([^']*)'", listed)


def _expected(error: Any) -> str:
    """Return what the error's branch wanted, as it reads after "must be"."""
    kind, context = error["type"], error.get("ctx", {})
    if kind == "literal_error":
        return context["expected"]
    if kind == "union_tag_invalid":
        return choices(_options(error))
    if kind == "too_short":
        return f"a list of at least {context['min_length']}"
    if kind == "too_long":
        return f"a list of at most {context['max_length']}"
    template = _EXPECTED.get(kind) or _EXPECTED.get(kind.removesuffix("_type").removesuffix("_parsing"))
    if kind.startswith(("int_", "model_", "dataclass_")):
        template = template or _EXPECTED[kind.split("_")[0]]
    return template.format(**context) if template else f"valid ({error['msg']})"


def _nearest(key: Loc, data: Any, model: type[BaseModel]) -> str | None:
    known = _fields(key[:-1], data, model)
    present = value_at(data, key[:-1])
    hint = did_you_mean(str(key[-1]), known)
    return next((name for name in known if f"'{name}'" in hint and name not in present), None)


def _fields(loc: Loc, data: Any, model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Return the fields that a mapping at `loc` may have, of every model of the schema that fits there."""
    annotations = _annotations(loc, data, model)
    models = [branch for annotation in annotations for branch in _models(annotation, value_at(data, loc))]
    return {name: field for branch in models for name, field in branch.model_fields.items()}


def _tags(loc: Loc, data: Any, model: type[BaseModel]) -> list[str]:
    """Return the values of `type` that tell the models at `loc` apart."""
    models = [branch for annotation in _annotations(loc, data, model) for branch in branches(annotation)]
    return [tag for branch in models if is_model(branch) for tag in model_tags(branch)]


def _annotations(loc: Loc, data: Any, model: type[BaseModel]) -> list[Any]:
    """Return what the schema says of the value at `loc`, once for each union branch on the way that fits."""
    annotations: list[Any] = [model]
    for part in loc:
        annotations = [inner for annotation in annotations for inner in _inside(annotation, part, data)]
        data = value_at(data, (part,))
    return annotations


def _inside(annotation: Any, part: str | int, data: Any) -> Iterator[Any]:
    for branch in branches(annotation):
        if isinstance(part, int) and get_origin(branch) in (list, tuple):
            yield get_args(branch)[0]
        if isinstance(part, str) and get_origin(branch) is dict:
            yield get_args(branch)[1]
    for branch in _models(annotation, data):
        if part in branch.model_fields:
            yield branch.model_fields[str(part)].annotation


def _models(annotation: Any, data: Any) -> list[type[BaseModel]]:
    """Return the models in a union; of those told apart by `type`, the one that the data names."""
    models = [branch for branch in branches(annotation) if is_model(branch)]
    tag = data.get("type") if isinstance(data, dict) else None
    return [model for model in models if not model_tags(model) or tag in model_tags(model)]


def is_model(annotation: Any) -> bool:
    """Return whether an annotation is a section of its own."""
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def model_tags(model: type[BaseModel]) -> tuple[str, ...]:
    """Return the values of `type` that mean this model; none where models are not told apart by `type`."""
    field = model.model_fields.get("type")
    return get_args(field.annotation) if field else ()


def branches(annotation: Any) -> Iterator[Any]:
    """Yield the members of a union, or the annotation itself, without what Annotated adds."""
    if get_origin(annotation) is Annotated:
        yield from branches(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, types.UnionType):
        for branch in get_args(annotation):
            yield from branches(branch)
    elif get_origin(annotation) is not Literal:
        yield annotation
