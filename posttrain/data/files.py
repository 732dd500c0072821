"""The files that a source's path names: one, or those that a glob matches."""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path

from posttrain.errors import UserError, did_you_mean

_GLOB = re.compile(r"[*?\[]")


def files_of(path: str, where: str | None = None) -> list[Path]:
    """The file at `path`, or those that it matches as a glob, sorted. Raises UserError at `where` for none."""
    path = os.path.expanduser(path)
    if os.path.isdir(path):
        raise UserError(
            f"{shown(path)} is a directory",
            where=where,
            fix=f"Name its files, for example {os.path.join(shown(path), '*.jsonl')}",
        )
    if os.path.exists(path):
        return [Path(path)]
    if _GLOB.search(path):
        found = sorted(file for file in glob.glob(path, recursive=True) if os.path.isfile(file))
        if not found:
            raise UserError(f"no file matches {path}", where=where, fix="Check the pattern.")
        return [Path(file) for file in found]
    raise _missing(path, where)


def shown(path: str | Path) -> str:
    """`path` as messages show it: relative where it is below the working directory, else absolute."""
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
    files = [entry.name for entry in os.scandir(folder) if entry.is_file()]
    guess = did_you_mean(os.path.basename(path), files)
    return UserError(f"no file {shown(path)}.{guess}", where=where, fix=None if guess else "Check the path.")
