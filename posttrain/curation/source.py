"""A source's chunks while they are gone over, with how far it is on stderr."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np

from posttrain.curation.write import encode
from posttrain.data.chunks import Chunk, Placed, chunks_of, rows_of
from posttrain.data.files import files_of, is_hub_id, shown
from posttrain.data.formats import choose_format, rename_columns
from posttrain.data.records import Record
from posttrain.data.text_rows import BOM
from posttrain.errors import UserError
from posttrain.progress import progress
from posttrain.recipe.schema import Source


@contextmanager
def each_chunk(source: Source, label: str | None = None) -> Iterator[Iterator[Chunk]]:
    """Give the chunks of `source`; with a `label`, what takes long says how far it is. Raises UserError."""
    chunks = chunks_of(source.path, subset=source.subset, split=source.split, revision=source.revision)
    if label is None:
        yield chunks
        return
    files = [] if is_hub_id(source.path) else files_of(source.path)
    sizes = [file.path.stat().st_size for file in files]
    with progress(f"{label} {name_of(source)}, MB", max(1, sum(sizes) >> 20)) as advance:

        def watched() -> Iterator[Chunk]:
            done = 0
            for chunk in chunks:
                position = (sum(sizes[: chunk.file]) + chunk.position) >> 20
                advance(position - done)
                done = position
                yield chunk

        yield watched()


@contextmanager
def each_row(source: Source, label: str | None = None) -> Iterator[Iterator[Placed]]:
    """Give ``(row, place)`` of each row of `source`, as `each_chunk` does."""
    with each_chunk(source, label) as chunks:
        yield (placed for chunk in chunks for placed in rows_of(chunk))


def records_of(chunk: Chunk, source: Source, stage: str) -> Iterator[Record]:
    """Yield the record of each row of a chunk of `source`, read for `stage`. Raises UserError."""
    format = None
    for raw, place in rows_of(chunk):
        row = rename_columns(raw, source.columns, place)
        format = format or choose_format(row, stage, source.format, place, "--format")
        yield format.read(row, place)


def name_of(source: Source) -> str:
    """What messages call the source."""
    return shown(source.path)


def count_rows(source: Source) -> int:
    """The rows of `source`. Lines of JSONL are counted, not parsed."""
    with each_chunk(source, "counting") as chunks:
        return sum(map(_count, chunks))


def marked_lines(source: Source, marks: np.ndarray, label: str) -> Iterator[tuple[bytes, int]]:
    """Yield each row whose number has a mark other than 0, as `encode` writes it, and the mark.

    A row without renamed columns stays as it is, to the byte where it is a line. Raises UserError for one of them
    that cannot be read.
    """
    number = 0
    with each_chunk(source, label) as chunks:
        for chunk in chunks:
            for part in _parts(chunk):
                if number < len(marks) and marks[number]:
                    yield _line(part, source), int(marks[number])
                number += 1
    if number != len(marks):
        raise UserError(f"had {len(marks):,} rows, and now has {number:,}", where=name_of(source))


def first_lines(source: Source, count: int) -> Iterator[bytes]:
    """Yield the first `count` rows, or all, as `marked_lines` does."""
    with each_chunk(source) as chunks:
        for part in islice((part for chunk in chunks for part in _parts(chunk)), count):
            yield _line(part, source)


def value_of(row: Mapping[str, Any], column: str) -> Any:
    """The value of a column, or of ``meta.user`` inside one; None where there is none."""
    if column in row:
        return row[column]
    value: Any = row
    for name in column.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _count(chunk: Chunk) -> int:
    if chunk.lines is None:
        return len(chunk.rows)
    lines = chunk.lines.removeprefix(BOM) if chunk.first == 1 else chunk.lines
    return sum(1 for line in lines.split(b"\n") if line.strip())


def _parts(chunk: Chunk) -> Iterator[Chunk]:
    """The chunk in chunks of one row."""
    if chunk.lines is None:
        for placed in chunk.rows:
            yield replace(chunk, rows=[placed])
        return
    for number, line in enumerate(chunk.lines.split(b"\n"), chunk.first):
        if (line.removeprefix(BOM) if number == 1 else line).strip():
            yield replace(chunk, lines=line, first=number)


def _line(part: Chunk, source: Source) -> bytes:
    row, place = next(rows_of(part))
    if source.columns or part.lines is None:
        return encode(rename_columns(row, source.columns, place), place)
    return part.lines.removeprefix(BOM).strip() + b"\n"
