"""Raw rows that Arrow holds: Parquet files, and data sets of the Hugging Face hub or its local cache."""

from __future__ import annotations

import gzip
import io
import json
import os
from collections.abc import Iterator
from functools import cache
from typing import Any, BinaryIO

from posttrain.errors import UserError

# Where the metadata of a Parquet file that posttrain wrote lists the columns that hold JSON text.
JSON_COLUMNS = b"posttrain.json_columns"


def read_parquet(file: BinaryIO, name: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield ``(row, place)`` of a Parquet file; place is ``rows.parquet row 137``. Raises UserError."""
    import pyarrow
    from pyarrow import parquet

    number = 0
    try:
        # Inside gzip there is no reading from the end but by reading it all.
        source = io.BytesIO(file.read()) if isinstance(file, gzip.GzipFile) else file
        opened = parquet.ParquetFile(source, page_checksum_verification=True)  # where there are some
        encoded = (opened.schema_arrow.metadata or {}).get(JSON_COLUMNS)
        for batch in opened.iter_batches(batch_size=1000):
            for row in batch.to_pylist(maps_as_pydicts="strict"):
                number += 1
                yield _without_nulls(row) if encoded is None else _decoded(row, encoded), f"{name} row {number}"
    except (pyarrow.ArrowException, ValueError, ArithmeticError, LookupError, TypeError) as error:
        # Of values that Python cannot hold (text that is no UTF-8, times out of range) come errors of many kinds.
        at = f"{name}, after row {number}" if number else name
        raise UserError(f"not a valid Parquet file: {_first_line(error)}", where=at) from error


def read_hub(
    name: str, *, subset: str | None, split: str, revision: str | None, where: str | None, streaming: bool = False
) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield ``(row, place)`` of a hub data set; place is ``owner/name[split] row 137``.

    Raises UserError at `where`, saying what was tried, when the data set cannot be had or has no rows.
    """
    number = 0
    for number, row in enumerate(_load(name, subset, split, revision, where, streaming), 1):
        yield _without_nulls(row), f"{name}[{split}] row {number}"
    if number == 0:
        raise UserError(f"the data set {name}, split {split}, has no rows", where=where)


def hub_digest(name: str, subset: str | None, split: str, revision: str | None, where: str | None) -> str:
    """What identifies the content of a hub data set: the fingerprint that `datasets` gives it."""
    return str(_load(name, subset, split, revision, where)._fingerprint)


@cache
def _load(
    name: str, subset: str | None, split: str, revision: str | None, where: str | None, streaming: bool = False
) -> Any:
    import datasets

    try:
        return datasets.load_dataset(name, name=subset, split=split, revision=revision, streaming=streaming)
    except Exception as error:  # the library raises a dozen kinds: network, rights, names, configurations
        tried = f"load_dataset({name!r}, {subset!r}, split={split!r}, revision={revision!r})"
        offline = " with HF_HUB_OFFLINE set" if os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0") else ""
        lines = str(error).strip().splitlines()
        reason = f"{type(error).__name__}: {lines[0] if lines else 'no reason given'}"
        raise UserError(
            f"no file {name}, and no hub data set could be had. Tried {tried}{offline}: {reason}",
            where=where,
            fix="A local file needs a suffix (.jsonl, .json, .csv, .tsv, .parquet; .gz too) or a leading ./",
        ) from error


def _decoded(row: dict[str, Any], encoded: bytes) -> dict[str, Any]:
    """`row` as it was when posttrain wrote it, but for values that were null."""
    texts = _names(encoded)
    return {key: json.loads(value) if key in texts else value for key, value in row.items() if value is not None}


@cache
def _names(encoded: bytes) -> frozenset[str]:
    return frozenset(json.loads(encoded))


def _text(value: bytes) -> str | bytes:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]


def _without_nulls(row: dict[str, Any]) -> dict[str, Any]:
    """`row` without the nulls that Arrow fills in where one row's object lacks another row's keys.

    NaN is null too, as pandas writes it; bytes that are UTF-8 are text, as some writers leave it unsaid.
    """
    return {key: _drop_nulls(value) for key, value in row.items()}


def _drop_nulls(value: Any) -> Any:
    if isinstance(value, float) and value != value:
        return None
    if isinstance(value, bytes):
        return _text(value)
    if isinstance(value, dict):
        return {key: _drop_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_drop_nulls(item) for item in value]
    return value
