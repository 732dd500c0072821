"""A source in chunks: lines of JSONL that are not parsed yet, or rows of what cannot be cut unparsed.

Whoever takes a chunk, in whichever process, gets its rows with their places by `rows_of`.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, cast

from posttrain.data.arrow import read_hub, read_parquet
from posttrain.data.files import files_of, is_hub_id, suffix
from posttrain.data.remote import in_place, is_remote
from posttrain.data.text_rows import BOM, parse_line, read_json, read_separated
from posttrain.errors import UserError

Placed = tuple[dict[str, Any], str]

CHUNK_BYTES = 4 << 20
CHUNK_ROWS = 1000


@dataclass(frozen=True, slots=True)
class Chunk:
    """Part of a source: `lines`, the first of them number `first`, or `rows` with their places.

    `file` counts the source's files, `name` is this one as messages show it, and `position` how many bytes of it
    were read at the chunk's end.
    """

    file: int
    name: str
    position: int = 0
    lines: bytes | None = None
    first: int = 1
    rows: list[tuple[Any, str]] = field(default_factory=list)


def chunks_of(
    path: str,
    *,
    subset: str | None = None,
    split: str = "train",
    revision: str | None = None,
    where: str | None = None,
    streaming: bool = False,
) -> Iterator[Chunk]:
    """Yield the chunks of a file, a glob or a hub data set, in order; with `streaming`, nothing is copied first.

    Raises UserError at `where` for a source that is not there or a file without rows, and at its place for what
    cannot be read.
    """
    if is_hub_id(path):
        rows = read_hub(path, subset=subset, split=split, revision=revision, where=where, streaming=streaming)
        while some := list(islice(rows, CHUNK_ROWS)):
            yield Chunk(0, f"{path}[{split}]", rows=some)
        return
    opened: list[tuple[Callable[[], BinaryIO], str]]
    if streaming and is_remote(path):
        opened = in_place(path, where)
    else:
        opened = [(partial(_open, file.path), file.name) for file in files_of(path, where)]
    for number, (open_file, name) in enumerate(opened):
        yield from _chunks_of_file(open_file, name, number, where)


def rows_of(chunk: Chunk, on_bad: Callable[[UserError], None] | None = None) -> Iterator[Placed]:
    """Yield ``(row, place)`` for each row of the chunk; place is ``rows.jsonl:137``.

    Raises UserError at the row's place for one that cannot be read, or gives the error to `on_bad` and goes on.
    """
    for raw, place in _placed(chunk):
        try:
            row = parse_line(raw, place) if chunk.lines is not None else raw
            if isinstance(row, UserError):  # of a reader that goes on after it
                raise row
            if not isinstance(row, dict):
                raise UserError(f"a row must be an object with named columns, this one is {_kind(row)}", where=place)
        except UserError as error:
            if on_bad is None:
                raise
            on_bad(error)
            continue
        yield row, place


def _placed(chunk: Chunk) -> Iterator[tuple[Any, str]]:
    """Yield the chunk's rows, or its lines that are not blank, each with its place."""
    if chunk.lines is None:
        yield from chunk.rows
        return
    for number, line in enumerate(chunk.lines.split(b"\n"), chunk.first):
        if number == 1:
            line = line.removeprefix(BOM)
        if line.strip():
            yield line, f"{chunk.name}:{number}"


def _chunks_of_file(open_file: Callable[[], BinaryIO], name: str, number: int, where: str | None) -> Iterator[Chunk]:
    kind = suffix(name)
    if kind not in KINDS:
        raise UserError(
            f"{name}: not a kind of file that holds rows",
            where=where,
            fix=f"Known: {', '.join(KINDS)}, each with .gz too.",
        )
    try:
        with open_file() as raw:
            file = cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if name.lower().endswith(".gz") else raw
            reader, empty = KINDS[kind], True
            if reader is None:
                first = 1
                while lines := file.read(CHUNK_BYTES):
                    lines += file.readline()
                    empty = empty and not lines.removeprefix(BOM).strip()
                    yield Chunk(number, name, raw.tell(), lines, first)
                    first += lines.count(b"\n")
            else:
                rows = reader(file, name)
                while some := list(islice(rows, CHUNK_ROWS)):
                    empty = False
                    yield Chunk(number, name, raw.tell(), rows=some)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"cannot read {name}: {error}", where=where) from error
    if empty:
        raise UserError(f"{name} has no rows", where=where, fix="Leave it out, or fill it.")


def _open(path: Path) -> BinaryIO:
    return path.open("rb")


def _kind(value: Any) -> str:
    kinds = {list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")


# None: lines, which are cut without being parsed.
KINDS: dict[str, Callable[[BinaryIO, str], Iterator[tuple[Any, str]]] | None] = {
    ".jsonl": None,
    ".ndjson": None,
    ".json": read_json,
    ".csv": read_separated(","),
    ".tsv": read_separated("\t"),
    ".parquet": read_parquet,
}
