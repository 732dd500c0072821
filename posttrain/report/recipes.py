"""Recipes side by side: what changed from one to the next."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

_EMPTY: tuple[Any, ...] = (None, "", [], {})


def changes(before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> list[list[str]]:
    """Return ``[key, there, here]`` for every key that differs, as text; "" where a recipe has not got it."""
    was, now = dict(leaves(before or {})), dict(leaves(after))
    keys = [key for key in dict.fromkeys([*now, *was]) if was.get(key, "") != now.get(key, "")]
    return [[key, was.get(key, ""), now.get(key, "")] for key in keys]


def leaves(recipe: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield (dotted key, value as text) of what a recipe sets; what is empty is not set."""
    if recipe in _EMPTY:
        return
    if isinstance(recipe, dict):
        for name, part in recipe.items():
            yield from leaves(part, f"{key}.{name}" if key else str(name))
    elif isinstance(recipe, list) and any(isinstance(part, dict | list) for part in recipe):
        for index, part in enumerate(recipe):
            yield from leaves(part, f"{key}[{index}]")
    else:
        yield key, recipe if isinstance(recipe, str) else json.dumps(recipe, ensure_ascii=False)
