"""Raw rows from files: JSONL, JSON, CSV, TSV and Parquet, each gzipped too, and globs of them."""

from __future__ import annotations

import glob
import gzip
import os
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from posttrain.data.arrow import read_hub, read_parquet
from posttrain.data.text_rows import read_json, read_jsonl, read_separated
from posttrain.errors import UserError, did_you_mean
from posttrain.recipe.paths import is_local

Row = dict[str, Any]
Placed = tuple[Row, str]

_GLOB = re.compile(r"[*?\[]")


def read_rows(
    path: str,
    *,
    subset: str | None = None,
    split: str = "train",
    revision: str | None = None,
    where: str | None = None,
) -> Iterator[Placed]:
    """Yield ``(row, place)`` for each row of a file, a glob or a hub data set; place is ``rows.jsonl:137``.

    `subset`, `split` and `revision` choose the part of a hub data set. Raises UserError at `where` for a
    source that is not there or has no rows, and at the row's place for a row that cannot be read.
    """
    if not is_local(path, Path()):
        yield from read_hub(path, subset=subset, split=split, revision=revision, where=where)
        return
    for file in _files(path, where):
        empty = True
        for row, place in _read_file(file, where):
            if not isinstance(row, dict):
                raise UserError(f"a row must be an object with named columns, this one is {_kind(row)}", where=place)
            empty = False
            yield row, place
        if empty:
            raise UserError(f"{shown(file)} has no rows", where=where, fix="Leave it out, or fill it.")


def shown(path: str | Path) -> str:
    """`path` as messages show it: relative where it is below the working directory, else absolute."""
    relative = os.path.relpath(path)
    return os.path.abspath(path) if relative.startswith("..") else relative


def _files(path: str, where: str | None) -> list[Path]:
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


def _missing(path: str, where: str | None) -> UserError:
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        return UserError(f"no file {path}: the folder {folder} does not exist", where=where, fix="Check the path.")
    files = [entry.name for entry in os.scandir(folder) if entry.is_file()]
    guess = did_you_mean(os.path.basename(path), files)
    return UserError(f"no file {shown(path)}.{guess}", where=where, fix=None if guess else "Check the path.")


def _suffix(path: str | Path) -> str:
    name = str(path).lower().removesuffix(".gz")
    return os.path.splitext(name)[1]


def _read_file(path: Path, where: str | None) -> Iterator[Placed]:
    reader = READERS.get(_suffix(path))
    if reader is None:
        raise UserError(
            f"{shown(path)}: not a kind of file that holds rows",
            where=where,
            fix=f"Known: {', '.join(READERS)}, each with .gz too.",
        )
    try:
        with _open(path) as file:
            yield from reader(file, shown(path))
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"cannot read {shown(path)}: {error}", where=where) from error


def _open(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path)) if path.name.lower().endswith(".gz") else path.open("rb")


def _kind(value: Any) -> str:
    kinds = {list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")


READERS: dict[str, Callable[[BinaryIO, str], Iterator[Placed]]] = {
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".json": read_json,
    ".csv": read_separated(","),
    ".tsv": read_separated("\t"),
    ".parquet": read_parquet,
}
