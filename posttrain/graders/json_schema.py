"""JSON Schemas of answers, bare or wrapped as OpenAI's `response_format`, and what a value has against one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from posttrain.errors import UserError
from posttrain.graders.grade import shortened

Check = Callable[[Any], str]  # what a value has against the schema; "" if it is valid

_WRAPPER = {"name", "schema", "strict", "description"}


def schema_of(value: Any) -> Any:
    """Return the schema in a `response_format`, or the value itself where it is the schema.

    OpenAI and Azure write it in three shapes: {type: json_schema, json_schema: {name, schema, strict}}, the same
    without the inner mapping, and {name, schema, strict} alone. {type: json_object} is any object. `strict` is
    an instruction to the service; the schema holds as it is written.
    """
    if not isinstance(value, Mapping):
        return value
    kind = value.get("type")
    if kind == "json_object" and len(value) == 1:
        return {"type": "object"}
    if kind == "json_schema":
        return schema_of(value.get("json_schema", {key: value[key] for key in value if key != "type"}))
    return value["schema"] if "schema" in value and set(value) <= _WRAPPER else value


def checker(schema: Any) -> Check:
    """Return the function that says what a value has against the schema, a JSON Schema (draft 2020-12 unless it says
    another) or a wrapped one. `format` is not checked, as JSON Schema has it.

    Raises UserError when jsonschema is not installed, and ValueError for what is no schema, or leads to another
    file or address.
    """
    try:
        import jsonschema
        import referencing
        import referencing.exceptions
        import referencing.jsonschema
    except ImportError as error:
        fix = 'pip install "posttrain[json]"'
        raise UserError(f"json needs {error.name}, which is not installed", fix=fix) from None

    schema = schema_of(schema)
    if not isinstance(schema, Mapping | bool):
        raise ValueError(f"not a JSON Schema: {shortened(str(schema))}")
    draft: Any = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        draft.check_schema(schema)
    except jsonschema.SchemaError as error:
        raise ValueError(f"not a JSON Schema: {error.json_path}: {shortened(error.message)}") from None
    registry: Any = referencing.Registry()
    specification = referencing.jsonschema.specification_with(draft.META_SCHEMA["$schema"])
    resolver = registry.resolver_with_root(specification.create_resource(schema))
    for reference in _references(schema):
        try:
            resolver.lookup(reference)
        except (referencing.exceptions.Unresolvable, ValueError):
            raise ValueError(f"$ref {reference!r} leads nowhere inside the schema") from None
    validator = draft(schema, registry=registry)

    def check(value: Any) -> str:
        error = jsonschema.exceptions.best_match(validator.iter_errors(value))
        if error is None:
            return ""
        place = error.json_path.removeprefix("$").lstrip(".")
        return f"{place}: {shortened(error.message)}" if place else shortened(error.message)

    return check


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, Mapping):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"]
        schema = list(schema.values())
    if isinstance(schema, list):
        for inner in schema:
            yield from _references(inner)
