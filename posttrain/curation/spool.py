"""Lines put on the disk in one order and read in another: a million rows shuffled in the memory of a few."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np


class Spool:
    """Lines in a file that is gone when it is closed. Memory holds where each ends, 8 bytes a line."""

    def __init__(self, file: tempfile._TemporaryFileWrapper[bytes]) -> None:
        self._file = file
        self._ends = np.zeros(1024, dtype=np.int64)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, line: bytes) -> None:
        """Put the line behind the others."""
        if self._count + 1 == len(self._ends):
            self._ends = np.concatenate([self._ends, np.zeros(len(self._ends), dtype=np.int64)])
        self._ends[self._count + 1] = self._ends[self._count] + len(line)
        self._count += 1
        self._file.write(line)

    def read(self, order: Iterable[int]) -> Iterator[bytes]:
        """Yield the lines of the numbers in `order`."""
        self._file.flush()
        handle = self._file.fileno()
        for number in order:
            start, end = int(self._ends[number]), int(self._ends[number + 1])
            yield os.pread(handle, end - start, start)


@contextmanager
def spool(folder: Path) -> Iterator[Spool]:
    """Give an empty spool, whose file lies in `folder`: it must have room for all the lines."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".spool.") as file:
        yield Spool(file)
