"""The files that a source's path names: one, those that a glob matches, or copies of what a URL names."""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path
from typing import NamedTuple

from posttrain.data.remote import fetch, is_remote
from posttrain.errors import UserError, did_you_mean
from posttrain.recipe.paths import is_local

_GLOB = re.compile(r"[*?\[]")


class SourceFile(NamedTuple):
    """A file to read, and what messages call it."""

    path: Path
    name: str


def files_of(path: str, where: str | None = None) -> list[SourceFile]:
    """The file at `path`, or those that it matches as a glob, sorted; of a URL, local copies.

    Raises UserError at `where` where there is none.
    """
    if is_remote(path):
        return [SourceFile(*copied) for copied in fetch(path, where)]
    return [SourceFile(file, shown(file)) for file in _local(path, where)]


def _local(path: str, where: str | None) -> list[Path]:
    path = os.path.expanduser(path)
    if "\0" in path:
        raise UserError(f"no file has a name like {path!r}", where=where, fix="Check the path.")
    if os.path.isdir(path):
        raise UserError(
            f"{shown(path)} is a directory",
            where=where,
            fix=f"Name its files, for example {os.path.join(shown(path), '*.jsonl')}",
        )
    if os.path.isfile(path):
        return [Path(path)]
    if os.path.exists(path):
        raise UserError(
            f"{shown(path)} is no regular file (a pipe, or a device)",
            where=where,
            fix="Save what it gives as a file: rows are read more than once.",
        )
    if _GLOB.search(path):
        found = sorted(file for file in glob.glob(path, recursive=True) if os.path.isfile(file))
        if not found:
            raise UserError(f"no file matches {path}", where=where, fix="Check the pattern.")
        return [Path(file) for file in found]
    raise _missing(path, where)


def is_hub_id(path: str) -> bool:
    """Whether a source's path names a data set of the hub: no file, no glob, no URL."""
    return not is_remote(path) and not is_local(path, Path())


def shown(path: str | Path) -> str:
    """`path` as messages show it: relative where it is below the working directory, else absolute."""
    if is_remote(str(path)) or is_hub_id(str(path)):
        return str(path)
    relative = os.path.relpath(path)
    return os.path.abspath(path) if relative.startswith("..") else relative


def suffix(path: str | Path) -> str:
    """The ending that says what kind of file it is, ``.gz`` left out."""
    name = str(path).lower().removesuffix(".gz")
    return os.path.splitext(name)[1]


def _missing(path: str, where: str | None) -> UserError:
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        return UserError(f"no file {path}: the folder {folder} does not exist", where=where, fix="Check the path.")
    try:
        files = [name for name in os.listdir(folder) if os.path.isfile(os.path.join(folder, name))]
    except OSError as error:
        return UserError(f"no file {shown(path)}: {error}", where=where, fix="Check the path.")
    if os.path.islink(path):
        return UserError(f"{shown(path)} is a link to no file", where=where, fix="Check where it leads.")
    guess = did_you_mean(os.path.basename(path), files)
    return UserError(f"no file {shown(path)}.{guess}", where=where, fix=None if guess else "Check the path.")
