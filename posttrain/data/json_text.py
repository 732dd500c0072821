"""JSON as rows may have it: no key twice, numbers that are numbers, whole characters, nested within reason."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any

MOST_NESTED = 100
"""Lists and objects inside each other; what reads and writes them deeper overflows at a depth of its own."""


def parse_json(text: str) -> Any:
    """The value in `text`. Raises ValueError that says what is wrong, and where."""
    try:
        value = _decoder.decode(text)
    except json.JSONDecodeError as error:
        line = f"line {error.lineno} " if "\n" in text.strip() else ""
        raise ValueError(f"{error.msg.removesuffix(' at')} at {line}column {error.colno}") from error
    except RecursionError as error:
        raise ValueError(f"nested more than {MOST_NESTED} deep") from error
    if text.count("[") + text.count("{") > MOST_NESTED and _depth(value) > MOST_NESTED:
        raise ValueError(f"nested more than {MOST_NESTED} deep")
    if "\\u" in text:  # an escaped half of a surrogate pair is no text that a tokenizer can read
        try:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError("an escape \\ud800-\\udfff without its other half") from error
    return value


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level := [item for item in level if isinstance(item, list | dict)]:
        depth += 1
        level = [item for each in level for item in (each.values() if isinstance(each, dict) else each)]
    return depth


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) != len(pairs):
        twice = next(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)
        raise ValueError(f"the key {twice[:80]!r} appears twice")
    return row


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number; write null, or leave the key out")


def _float(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"the number {digits[:40]} is too large")
    return number


def _int(digits: str) -> int:
    try:
        return int(digits)
    except ValueError as error:  # Python's limit of 4,300 digits
        raise ValueError(f"a number of {len(digits):,} digits") from error


_decoder = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_no_constant, parse_float=_float, parse_int=_int)
