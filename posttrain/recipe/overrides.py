"""`--set key=value`: change one value of a recipe from the command line, by the recipe's own rules."""

from __future__ import annotations

import copy
from typing import Any

from posttrain.errors import UserError
from posttrain.recipe.yaml_lines import Loc, dotted, read_yaml, undotted


def parse_override(text: str) -> tuple[Loc, Any]:
    """Return the place and the value of one `key=value`; the value is YAML (`[1, 8]`, `1e-5`, `null`)."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        fix = "for example --set train.learning_rate=1e-5"
        raise UserError("not of the form key=value", where=f"--set {text}", fix=fix)
    document = read_yaml(value, f"--set {key.strip()}")
    if document.duplicates:
        raise UserError(f"duplicate key '{dotted(document.duplicates[0][0])}'", where=f"--set {key.strip()}")
    return undotted(key.strip()), document.data


def with_value(data: dict[str, Any], loc: Loc, value: Any) -> dict[str, Any]:
    """Return `data` with `value` at `loc`, mappings made on the way; raises UserError if there is none."""
    changed = copy.deepcopy(data)
    here: Any = changed
    for depth, part in enumerate(loc[:-1]):
        here = _step_into(here, loc, depth)
        if isinstance(here, dict) and here.get(part) is None:
            here[part] = {}
        here = here[part]
    here = _step_into(here, loc, len(loc) - 1)
    here[loc[-1]] = value
    return changed


def _step_into(here: Any, loc: Loc, depth: int) -> Any:
    """Return `here` if it can hold ``loc[depth]``."""
    part, where, name = loc[depth], f"--set {dotted(loc)}", dotted(loc[:depth])
    if isinstance(here, list):
        if not isinstance(part, int):
            raise UserError(f"{name} is a list", where=where, fix=f"name the entry, e.g. {name}[0].{part}")
        if part >= len(here):
            entries = "1 entry" if len(here) == 1 else f"{len(here)} entries"
            raise UserError(f"{name} has {entries}; the first is {name}[0]", where=where)
        return here
    if not isinstance(here, dict):
        raise UserError(f"{name} is {here!r} and has no keys", where=where)
    if isinstance(part, int):
        fix = f"set the whole of it: --set '{name}=[…]'" if name else None
        raise UserError(f"{name or 'the recipe'} is not a list", where=where, fix=fix)
    return here
