"""A source to its records, once: read, converted and keyed by all cores into an Arrow file that is kept.

The file has a row for each record that can be used: its JSON, where it was read, and the keys by which records are
compared, so that sampling, splitting and looking for overlap need not read a record again.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from itertools import chain
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa

from posttrain.data.arrow import hub_digest
from posttrain.data.cache import cached, file_digest
from posttrain.data.chunks import Chunk, chunks_of, rows_of
from posttrain.data.files import SourceFile, files_of, is_hub_id, shown, suffix
from posttrain.data.formats import (
    FORMATS,
    check_columns,
    choose_format,
    name_of_format,
    refuse_other_format,
    rename_columns,
)
from posttrain.data.formats.format import Format
from posttrain.data.identity import keys_of
from posttrain.data.records import Record
from posttrain.data.system import with_system
from posttrain.data.usable import why_unusable
from posttrain.data.workers import in_order
from posttrain.errors import UserError
from posttrain.progress import progress
from posttrain.recipe.schema import Source, SystemPrompt

RECORDS = "records.arrow"
ABOUT = "about.json"
SCHEMA = pa.schema(
    {
        "record": pa.large_string(),
        "file": pa.int32(),
        "at": pa.string(),
        "content": pa.binary(32),
        "prompt": pa.binary(32),
        "asked": pa.list_(pa.binary(32)),
        "label": pa.bool_(),
        "group": pa.string(),
    }
)

_SHOWN = 3  # rows that could not be read
_CHUNKS_ALONE = 4  # with fewer, starting other processes takes longer than the work


@dataclass(frozen=True)
class Reading:
    """How a source's rows become records: all that a record depends on beside the row."""

    stage: str
    format: str
    found: bool  # rather than named: then no row may fit another
    columns: dict[str, str]
    system: str | SystemPrompt | None
    skip_bad: bool
    group: str | None = None


@dataclass
class Counts:
    """What became of the rows: read, left out by reason, and those that could not be read."""

    rows: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    bad: int = 0
    bad_examples: list[str] = field(default_factory=list)

    def add(self, other: Counts) -> None:
        self.rows += other.rows
        self.left_out = dict(Counter(self.left_out) + Counter(other.left_out))
        self.bad += other.bad
        self.bad_examples = (self.bad_examples + other.bad_examples)[:_SHOWN]


@dataclass(frozen=True)
class Converted:
    """The file of a source's records, the names of the source's files, the format's title, what became of the rows."""

    path: Path
    names: list[str]
    title: str
    counts: Counts


def convert_source(
    source: Source,
    stage: str,
    *,
    system: str | SystemPrompt | None,
    skip_bad: bool,
    where: str,
    format_where: str,
    group: str | None = None,
) -> Converted:
    """Convert the source, or find it converted: nothing that has a part in a record has changed since.

    `group` is a column whose value is kept beside each record, as text, and is no part of it.
    Raises UserError at `where` for a source that cannot be had, at `format_where` for an unknown format, and at
    the row's place for one that cannot be read, unless `skip_bad`.
    """
    files = [] if is_hub_id(source.path) else files_of(source.path, where)
    before = _state(files)
    chunks = chunks_of(source.path, subset=source.subset, split=source.split, revision=source.revision, where=where)
    check_columns(source.columns, stage, where, group)
    format, chunks = find_format(chunks, source, stage, skip_bad, where, format_where)
    name = name_of_format(format, stage)
    reading = Reading(stage, name, source.format == "auto", source.columns, system, skip_bad, group)
    content = [file_digest(file.path) for file in files] or [
        hub_digest(source.path, source.subset, source.split, source.revision, where)
    ]
    label = f"reading {shown(source.path)}, MB"
    size = sum(file.path.stat().st_size for file in files)
    # The name says how the content is read, and stands in what is kept of bad rows.
    names = [file.name for file in files] or [f"{source.path}[{source.split}]"]
    called = names if skip_bad else [suffix(name) for name in names]
    key = {"reading": repr(reading), "content": content, "called": called}

    def make(into: Path) -> None:
        _convert(chunks, reading, into, label, size)
        if _state(files) != before:  # or old rows would be kept under the digest of new ones
            raise UserError(f"{shown(source.path)} changed while it was read", where=where, fix="Run it again.")

    entry = cached("records", key, make)
    about = json.loads((entry / ABOUT).read_text(encoding="utf-8"))
    return Converted(entry / RECORDS, names, format.title, Counts(**about))


def _state(files: list[SourceFile]) -> list[tuple[int, int]]:
    found = [file.path.stat() for file in files]
    return [(each.st_size, each.st_mtime_ns) for each in found]


def decode(record_type: type[Record], text: str, place: str) -> Record:
    """The record that was kept as `text`."""
    return record_type(**json.loads(text), place=place)


def _encode(record: Record) -> str:
    said = {name: getattr(record, name) for name in _NAMES[type(record)]}
    try:
        return _encoder.encode(said)
    except ValueError as error:
        raise UserError(f"a value that no JSON can hold: {error}", where=record.place) from error


def _plain(value: Any) -> str:
    """A date, a time or a decimal of a Parquet file, as text."""
    if isinstance(value, bytes):
        raise ValueError("bytes that are no UTF-8 text")
    return str(value)


_NAMES: dict[type[Any], list[str]] = {
    kind: [each.name for each in fields(kind) if each.name != "place"] for kind in get_args(Record)
}
_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=_plain)


def find_format(
    chunks: Iterator[Chunk], source: Source, stage: str, skip_bad: bool, where: str, format_where: str
) -> tuple[Format, Iterator[Chunk]]:
    """The format of the first row, or of the first that can be read where others are skipped; and all the chunks."""
    seen: list[Chunk] = []
    errors: list[UserError] = []
    for chunk in chunks:
        seen.append(chunk)
        for raw, place in rows_of(chunk, errors.append if skip_bad else None):
            try:
                row = rename_columns(raw, source.columns, place)
                format = choose_format(row, stage, source.format, place, format_where)
                if skip_bad:
                    format.read(row, place)  # a row that is skipped says nothing about the others
                return format, chain(seen, chunks)
            except UserError as error:
                if not skip_bad or error.where == format_where:
                    raise
                errors.append(error)
    raise UserError(f"no row can be read, the first for this: {errors[0]}", where=where)


def _convert(chunks: Iterator[Chunk], reading: Reading, into: Path, label: str, size: int) -> None:
    """Write the records of the chunks, and what became of the rows, into a directory."""
    counts, megabytes = Counts(), 0
    with (
        pa.OSFile(str(into / RECORDS), "wb") as sink,
        pa.ipc.new_file(sink, SCHEMA) as writer,
        progress(label, max(1, size >> 20)) as advance,
    ):
        tasks = ((chunk, reading) for chunk in chunks)
        for batch, counted, position in in_order(_convert_chunk, tasks, alone=_CHUNKS_ALONE):
            writer.write_batch(batch)
            counts.add(counted)
            advance(max(0, (position >> 20) - megabytes))
            megabytes = max(megabytes, position >> 20)
    (into / ABOUT).write_text(json.dumps(asdict(counts)), encoding="utf-8")


def _convert_chunk(task: tuple[Chunk, Reading]) -> tuple[pa.RecordBatch, Counts, int]:
    chunk, reading = task
    read = FORMATS[reading.stage][reading.format].read
    counts = Counts()
    columns: dict[str, list[Any]] = {name: [] for name in SCHEMA.names}

    def bad(error: UserError) -> None:
        if not reading.skip_bad:
            raise error
        counts.add(Counts(rows=1, bad=1, bad_examples=[str(error).splitlines()[0]]))

    for raw, place in rows_of(chunk, bad):
        try:
            row = rename_columns(raw, reading.columns, place)
            if reading.found:
                refuse_other_format(row, reading.stage, reading.format, place)
            record = with_system(read(row, place), reading.system)
            text = _encode(record)
        except UserError as error:
            bad(error)
            continue
        counts.rows += 1
        if why := why_unusable(record):
            counts.left_out[why] = counts.left_out.get(why, 0) + 1
            continue
        content, prompt, asked = keys_of(record)
        values = (
            text,
            chunk.file,
            place.removeprefix(chunk.name),
            content,
            prompt,
            asked,
            getattr(record, "label", None),
            _group(row, reading.group),
        )
        for column, value in zip(columns.values(), values, strict=True):
            column.append(value)
    return pa.record_batch(columns, schema=SCHEMA), counts, chunk.position


def _group(row: dict[str, Any], column: str | None) -> str | None:
    value = row.get(column) if column else None
    return None if value in (None, "") else str(value)
