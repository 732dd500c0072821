"""JSONL to Parquet in bounded memory: each column of one plain kind as that, and any other as JSON text.

Arrow gives all rows of a column one type, and fills the keys that one row's object lacks with nulls: tool arguments
would come back changed. The names of the columns that hold JSON text stand in the file's metadata, where
`data/arrow.py` finds them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from posttrain.data.arrow import JSON_COLUMNS

_BATCH_ROWS = 1000
_PLAIN: dict[type, pa.DataType] = {
    bool: pa.bool_(),
    int: pa.int64(),
    float: pa.float64(),
    str: pa.large_string(),
}
_INT64 = range(-(2**63), 2**63)


def write_parquet(lines: Path, path: Path) -> None:
    """Write the rows of the JSONL file `lines` to the Parquet file `path`."""
    kinds: dict[str, set[type | None]] = {}
    for row in _rows(lines):
        for name, value in row.items():
            kinds.setdefault(name, set()).update(_kind(value))
    sole = {name: next(iter(found)) for name, found in kinds.items() if len(found) == 1}
    plain = {name: _PLAIN[kind] for name, kind in sole.items() if kind is not None}
    schema = pa.schema(
        {name: plain.get(name, pa.large_string()) for name in kinds},
        metadata={JSON_COLUMNS: json.dumps([name for name in kinds if name not in plain])},
    )
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        rows = _rows(lines)
        while some := list(islice(rows, _BATCH_ROWS)):
            columns = {name: [_value(row, name, name in plain) for row in some] for name in kinds}
            writer.write_batch(pa.record_batch(columns, schema=schema))


def _rows(lines: Path) -> Iterator[dict[str, Any]]:
    with lines.open("rb") as file:
        yield from map(json.loads, file)


def _kind(value: Any) -> set[type | None]:
    """The plain kind of the value, None for any other; nothing of a null, which every kind of column can hold."""
    if value is None:
        return set()
    if type(value) is int and value not in _INT64:
        return {None}
    return {type(value) if type(value) in _PLAIN else None}


def _value(row: dict[str, Any], name: str, plain: bool) -> Any:
    value = row.get(name)
    return value if plain or value is None else json.dumps(value, ensure_ascii=False)
