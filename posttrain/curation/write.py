"""Rows to a file (.jsonl, .jsonl.gz, .parquet): whole or not at all, and never over an existing one unasked."""

from __future__ import annotations

import gzip
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import date, time
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO, cast

from posttrain.data.files import shown
from posttrain.errors import Stopped, UserError

SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet")


class RowsFile:
    """A file of rows that is being written; `rows` counts them."""

    def __init__(self, file: BinaryIO) -> None:
        self.rows = 0
        self._file = file

    def write(self, row: Mapping[str, Any], place: str | None = None) -> None:
        """Add a row, read at `place`. Raises UserError for a value that JSON does not have."""
        self.write_line(encode(row, place))

    def write_line(self, line: bytes) -> None:
        """Add a row as `encode` returned it."""
        self._file.write(line)
        self.rows += 1


@contextmanager
def new_file(path: Path, *, force: bool = False) -> Iterator[RowsFile]:
    """Give a file to write rows to; it is at `path` once all of them are, and not at all after an error.

    Rows go to the disk as they come. Nested values in Parquet are JSON text, which loading reads as what it was.
    Raises UserError as `refuse_existing` does, and where the disk is full or the folder cannot be written.
    """
    refuse_existing(path, force=force)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as raw, _compressed(raw, path) as file:
            yield RowsFile(file)
        if path.suffix.lower() == ".parquet":
            _lines_to_parquet(beside)
        os.replace(beside, path)
    except Stopped as stop:
        stop.kept = f"{shown(path)} is not written"
        raise
    except OSError as error:
        raise UserError(f"cannot be written: {error.strerror or error}", where=shown(path)) from error
    finally:
        with suppress(OSError):  # where it could not even be begun
            beside.unlink()


def refuse_existing(path: Path, *, force: bool = False) -> None:
    """Raise UserError for a path that no rows can be written to: another suffix, a folder, or (no `force`) a file."""
    if not path.name.lower().endswith(SUFFIXES):
        raise UserError("not a kind of file that rows are written to", where=shown(path), fix=", ".join(SUFFIXES))
    if path.is_dir():
        raise UserError("is a directory", where=shown(path), fix="Name a file in it.")
    if path.exists() and not force:
        raise UserError("is there already", where=shown(path), fix="--force writes over it.")


def encode(row: Mapping[str, Any], place: str | None = None) -> bytes:
    """`row` as a line of JSONL. NaN, which data frames keep for what is missing, becomes null.

    Raises UserError at `place` for a value that JSON does not have, such as bytes.
    """
    try:
        try:
            return _json(row)
        except ValueError:
            return _json(_without_nan(row))
    except (TypeError, ValueError) as error:
        raise UserError(f"the row holds what JSON does not have: {error}", where=place) from error


def _json(row: Any) -> bytes:
    return _encoder.encode(row).encode() + b"\n"


def _as_text(value: Any) -> str:
    if isinstance(value, date | time):  # a datetime is a date
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(f"a value of type {type(value).__name__}")


_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=_as_text)


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def _compressed(raw: BinaryIO, path: Path) -> Iterator[BinaryIO]:
    if not path.name.lower().endswith(".gz"):
        yield raw
        return
    # Neither name nor time inside: the same rows are the same bytes.
    with gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=6, mtime=0) as file:
        yield cast(BinaryIO, file)


def _lines_to_parquet(path: Path) -> None:
    from posttrain.curation.columns import write_parquet

    beside = path.with_name(path.name + ".parquet")
    try:
        write_parquet(path, beside)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
