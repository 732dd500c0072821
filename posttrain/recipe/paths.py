"""Which of a recipe's values are paths, and what they are relative to."""

from __future__ import annotations

import os.path
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from posttrain.recipe.explain import value_at
from posttrain.recipe.yaml_lines import Loc

_DATA_SUFFIXES = (".jsonl", ".json", ".ndjson", ".csv", ".tsv", ".parquet")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def is_local(path: str, base_dir: Path) -> bool:
    """Return whether a source's path is a file or a glob rather than a URL or a hub id.

    A hub id is ``owner/name`` without a data file's suffix, where `base_dir` has neither that file nor a
    folder called `owner`.
    """
    return "://" not in path and (
        not _HUB_ID.fullmatch(path)
        or path.startswith((".", "~"))
        or path.lower().removesuffix(".gz").endswith(_DATA_SUFFIXES)
        or (base_dir / path).parent.is_dir()
    )


def make_absolute(data: dict[str, Any], base_of: Callable[[Loc], Path]) -> None:
    """Make a raw recipe's local paths absolute, in place; `base_of` says what each is relative to."""
    for loc in _path_locs(data):
        path, base_dir = value_at(data, loc), base_of(loc).absolute()
        if isinstance(path, str) and path and (loc[0] not in ("data", "eval") or is_local(path, base_dir)):
            value_at(data, loc[:-1])[loc[-1]] = os.path.normpath(base_dir / Path(path).expanduser())


def grader_paths(graders: Any, loc: Loc = ("graders",)) -> list[Loc]:
    """Return where `graders`, a list or a mapping of raw graders that stands at `loc`, have a file of theirs: the key
    `path` of each, and of those inside it."""
    if isinstance(graders, dict) and isinstance(graders.get("type"), str):
        return [(*loc, "path"), *grader_paths(graders.get("graders"), (*loc, "graders"))]
    inner = graders.items() if isinstance(graders, dict) else enumerate(graders) if isinstance(graders, list) else ()
    return [path for key, grader in inner for path in grader_paths(grader, (*loc, key))]


def _path_locs(data: dict[str, Any]) -> list[Loc]:
    """Return where a recipe of this shape has paths, whether something stands there or not."""
    locs: list[Loc] = [("model", "chat_template"), ("launch", "hostfile"), *grader_paths(data.get("graders"))]
    variants = value_at(data, ("eval", "prompts"))
    shots: list[Loc] = [
        ("eval", "prompts", i, "shots") for i in range(len(variants) if isinstance(variants, list) else 0)
    ]
    for key in (("data", "train"), ("data", "dev"), ("data", "unseen"), ("data", "problems"), *shots):
        listed = value_at(data, key)
        locs += [(*key, index, "path") for index in range(len(listed) if isinstance(listed, list) else 0)]
    return locs
