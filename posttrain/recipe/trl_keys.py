"""The keys of TRL's configs by stage, read from its installed source: importing TRL would take seconds.

The names, types, choices and defaults come from the annotated fields of the dataclasses TrainingArguments,
TRL's _BaseConfig and the stage's own config, in that order; a test holds them equal to `dataclasses.fields`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from posttrain.errors import UserError

_STAGE_CLASS = {
    "sft": ("trainer/sft_config.py", "SFTConfig"),
    "dpo": ("trainer/dpo_config.py", "DPOConfig"),
    "kto": ("trainer/kto_config.py", "KTOConfig"),
    "rlvr": ("trainer/grpo_config.py", "GRPOConfig"),
}
# TRL's configs turn these into their declared type themselves.
_ALSO_TAKES = {"loss_type": {"type": "string"}, "scale_rewards": {"type": "boolean"}}
_PLAIN = {
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "str": "string",
    "dict": "object",
    "list": "array",
}

Schema = dict[str, Any]  # a fragment of JSON Schema: {"type": …}, with "items" for lists, or {"enum": […]}


@dataclass(frozen=True)
class TrlKey:
    """One key: the values it takes (any of `takes`; empty: anything), its literal default, its help."""

    name: str
    takes: tuple[Schema, ...]
    default: Any
    help: str


@lru_cache
def trl_keys(stage: str) -> dict[str, TrlKey]:
    """Return TRL's keys for `stage` (sft, dpo, kto, rlvr) by name, inherited ones first."""
    arguments = _parse("transformers", "training_args.py")
    enums = {**_enums(_parse("transformers", "trainer_utils.py")), **_enums(arguments)}
    file, name = _STAGE_CLASS[stage]
    chain = [
        _class(arguments, "TrainingArguments"),
        _class(_parse("trl", "trainer/base_config.py"), "_BaseConfig"),
        _class(_parse("trl", file), name),
    ]
    fields = (statement for node in chain for statement in node.body if isinstance(statement, ast.AnnAssign))
    keys = (_key(statement, enums) for statement in fields)
    return {key.name: key for key in keys}


@lru_cache
def _parse(package: str, file: str) -> ast.Module:
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise UserError(f"{package} is not installed", fix=f"pip install {package}")
    return ast.parse((Path(spec.origin).parent / file).read_text(encoding="utf-8"))


def _class(module: ast.Module, name: str) -> ast.ClassDef:
    return next(node for node in module.body if isinstance(node, ast.ClassDef) and node.name == name)


def _enums(module: ast.Module) -> dict[str, list[str]]:
    """Return the values of every string enumeration in `module`."""
    classes = [node for node in module.body if isinstance(node, ast.ClassDef)]
    return {
        node.name: [_literal(member.value) for member in node.body if isinstance(member, ast.Assign)]
        for node in classes
        if any(isinstance(base, ast.Name) and base.id == "ExplicitEnum" for base in node.bases)
    }


def _key(statement: ast.AnnAssign, enums: dict[str, list[str]]) -> TrlKey:
    assert isinstance(statement.target, ast.Name)
    name = statement.target.id
    call = statement.value if isinstance(statement.value, ast.Call) else None
    arguments = {keyword.arg: keyword.value for keyword in call.keywords} if call else {}
    metadata = _dict_items(arguments.get("metadata"))
    takes = tuple(_alternatives(statement.annotation, enums))
    if name in _ALSO_TAKES and _ALSO_TAKES[name] not in takes:
        takes = (*takes, _ALSO_TAKES[name])
    return TrlKey(
        name,
        _with_choices(takes, _literal(metadata.get("choices"))),
        _literal(_default(arguments)),
        _literal(metadata.get("help")) or "",
    )


def _with_choices(takes: tuple[Schema, ...], choices: Any) -> tuple[Schema, ...]:
    """Text with listed choices, or with an enumeration beside it, takes only those."""
    if isinstance(choices, list):
        return ({"enum": choices}, *(schema for schema in takes if schema != {"type": "string"}))
    if any("enum" in schema for schema in takes):
        return tuple(schema for schema in takes if schema != {"type": "string"})
    return () if {} in takes else takes


def _alternatives(annotation: ast.expr, enums: dict[str, list[str]]) -> Iterator[Schema]:
    """Yield a schema for each member of the annotated union; {} for a type that is not known here."""
    if isinstance(annotation, ast.BinOp):
        yield from _alternatives(annotation.left, enums)
        yield from _alternatives(annotation.right, enums)
    elif isinstance(annotation, ast.Constant) and annotation.value is None:
        yield {"type": "null"}
    elif isinstance(annotation, ast.Name):
        yield _named(annotation.id, enums)
    elif isinstance(annotation, ast.Subscript) and isinstance(annotation.value, ast.Name):
        yield _subscript(annotation.value.id, annotation.slice, enums)
    else:
        yield {}


def _named(name: str, enums: dict[str, list[str]]) -> Schema:
    if name in _PLAIN:
        return {"type": _PLAIN[name]}
    return {"enum": enums[name]} if name in enums else {}


def _subscript(name: str, inner: ast.expr, enums: dict[str, list[str]]) -> Schema:
    if name == "list":
        items = list(_alternatives(inner, enums))
        return {"type": "array", "items": items[0]} if len(items) == 1 and items[0] else {"type": "array"}
    if name == "Literal":
        values = inner.elts if isinstance(inner, ast.Tuple) else [inner]
        return {"enum": [_literal(value) for value in values]}
    return {"type": "object"} if name == "dict" else {}


def _default(arguments: dict[str | None, ast.expr]) -> ast.expr | None:
    factory = arguments.get("default_factory")
    return factory.body if isinstance(factory, ast.Lambda) else arguments.get("default")


def _dict_items(node: ast.expr | None) -> dict[str, ast.expr]:
    if not isinstance(node, ast.Dict):
        return {}
    return {str(_literal(key)): value for key, value in zip(node.keys, node.values, strict=True)}


def _literal(node: ast.expr | None) -> Any:
    """Return the node's value if it is a literal, else None."""
    try:
        return ast.literal_eval(node) if node is not None else None
    except ValueError:
        return None
