"""Records as the rest of the program sees them: a sequence that reads each from its file when it is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow as pa

from posttrain.data.convert import decode
from posttrain.data.identity import asked_keys, content_key, prompt_key
from posttrain.data.records import Record

Order = Any  # an array of row numbers
Keys = Any  # an array of digests; `tolist` gives them as bytes

_DIGEST = "V32"
_TOGETHER = 50_000  # lists of digests that are held at a time


@dataclass(frozen=True)
class Stored:
    """A file of records, mapped into memory, and the names of the files that they were read from."""

    path: Path
    names: list[str]
    batches: list[pa.RecordBatch]


def open_stored(path: Path, names: list[str]) -> Stored:
    """The file that `convert_source` wrote."""
    reader = pa.ipc.open_file(pa.memory_map(str(path)))
    return Stored(path, names, [reader.get_batch(number) for number in range(reader.num_record_batches)])


class Records(Sequence[Record]):
    """The records of some files in an order of their own, each as often as `order` names its row number.

    Row numbers count through the files in turn. A million records cost their order and whatever keys are asked for.
    """

    def __init__(self, record_type: type[Record], stored: Sequence[Stored], order: Order = None) -> None:
        self.record_type = record_type
        self.stored = tuple(stored)
        self._batches = [(each, batch) for each in self.stored for batch in each.batches]
        self._starts = np.cumsum([0, *(batch.num_rows for _, batch in self._batches)])
        self.order = np.arange(self._starts[-1]) if order is None else np.asarray(order, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.order)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> Records: ...
    def __getitem__(self, index: int | slice) -> Record | Records:
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        return self._read(int(self.order[index]))

    def __iter__(self) -> Iterator[Record]:
        return (self._read(int(number)) for number in self.order)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(mine == theirs for mine, theirs in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # like a list

    def __repr__(self) -> str:
        return f"Records({len(self):,} of {self.record_type.__name__})"

    def take(self, positions: Order) -> Records:
        """The records at these positions of this view, as another view."""
        return Records(self.record_type, self.stored, self.order[np.asarray(positions, dtype=np.int64)])

    def at(self, numbers: Order) -> Records:
        """The records with these row numbers, as another view."""
        return Records(self.record_type, self.stored, numbers)

    def column(self, name: str) -> list[Any]:
        """One of the kept columns (``asked``, ``label`` …), in this view's order."""
        numbers, back = np.unique(self.order, return_inverse=True)
        values: list[Any] = []
        for batch, rows in self._by_batch(numbers):
            values += self._batches[batch][1].column(name).take(pa.array(rows)).to_pylist()
        return [values[at] for at in back]

    def digests(self, name: str) -> Keys:
        """One of the columns of digests (``content``, ``prompt``), in this view's order."""
        columns = [batch.column(name) for _, batch in self._batches]
        taken = [np.frombuffer(column.buffers()[1], _DIGEST)[column.offset :][: len(column)] for column in columns]
        return np.concatenate([np.empty(0, _DIGEST), *taken])[self.order]

    def batches(self) -> Iterator[tuple[Stored, int, Order]]:
        """Yield ``(file, batch, rows)``: where the view's records lie, each once, in the order of the files."""
        numbers = [(each, number) for each in self.stored for number in range(len(each.batches))]
        for batch, rows in self._by_batch(np.unique(self.order)):
            yield *numbers[batch], rows

    def _by_batch(self, numbers: Order) -> Iterator[tuple[int, Order]]:
        """Yield each batch that holds some of the ascending row numbers, with their rows in it."""
        bounds = np.searchsorted(numbers, self._starts)
        for batch, (start, end) in enumerate(pairwise(bounds)):
            if end > start:
                yield batch, numbers[start:end] - self._starts[batch]

    def _read(self, number: int) -> Record:
        batch = int(np.searchsorted(self._starts, number, side="right")) - 1
        stored, columns = self._batches[batch]
        return _decode_row(self.record_type, stored.names, columns, number - int(self._starts[batch]))


def read_batch(record_type: type[Record], path: Path, names: list[str], batch: int, rows: Order) -> list[Record]:
    """Some records of one batch of a file, without mapping the file: what is read is all the memory it takes."""
    with pa.OSFile(str(path)) as file:
        columns = pa.ipc.open_file(file).get_batch(batch)
        return [_decode_row(record_type, names, columns, int(row)) for row in rows]


def _decode_row(record_type: type[Record], names: list[str], columns: pa.RecordBatch, row: int) -> Record:
    place = names[columns["file"][row].as_py()] + columns["at"][row].as_py()
    return decode(record_type, columns["record"][row].as_py(), place)


def content_keys(records: Iterable[Record]) -> Keys:
    """The `content_key` of each record; of stored ones without reading them."""
    return records.digests("content") if isinstance(records, Records) else _keys(map(content_key, records))


def prompt_keys(records: Iterable[Record]) -> Keys:
    """The `prompt_key` of each record; of stored ones without reading them."""
    return records.digests("prompt") if isinstance(records, Records) else _keys(map(prompt_key, records))


def asked_of(records: Sequence[Record]) -> Iterator[list[bytes]]:
    """Yield the `asked_keys` of each record; of stored ones without reading them."""
    if isinstance(records, Records):
        for start in range(0, len(records), _TOGETHER):
            yield from records[start : start + _TOGETHER].column("asked")
    else:
        yield from map(asked_keys, records)


def _keys(keys: Iterable[bytes]) -> Keys:
    return np.array(list(keys), _DIGEST)
