"""Numbers kept under digests in a folder that grows: each run reads what is known and adds what it worked out.

A file is written once and whole, under a name of its content, so any number of processes may add at a time.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

Keys = Any  # an array of 16-byte digests
Values = Any  # an array of float32

KEY = "V16"
_ROW = np.dtype([("key", KEY), ("value", "<f4")])


LONGEST_WAIT_SECONDS = 600.0


@contextmanager
def turn(folder: Path) -> Iterator[None]:
    """Hold the folder for this process while it works out what is missing: others wait, and find it there.

    None waits longer than ten minutes, since ranks wait with it: two may add the same at a time. A folder that cannot
    be written is held by nobody.
    """
    lock = None
    with suppress(OSError):
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        if lock is not None:
            _wait(lock)
        yield
    finally:
        if lock is not None:
            os.close(lock)


def _wait(lock: int) -> None:
    started, told = time.monotonic(), False
    while time.monotonic() - started < LONGEST_WAIT_SECONDS:
        with suppress(BlockingIOError):
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not told and time.monotonic() - started > 2:
            print("waiting for another process that asks the same reference", file=sys.stderr)
            told = True
        time.sleep(0.1)


def look_up(folder: Path, keys: Keys) -> Values:
    """Return the number of each key, in the shape of `keys`; NaN where none is known."""
    rows = np.concatenate([np.empty(0, _ROW), *map(_rows_of, sorted(folder.glob("*.npy")))])
    found = np.full(keys.shape, np.nan, np.float32)
    if len(rows):
        known, first = np.unique(rows["key"], return_index=True)
        at = np.searchsorted(known, keys).clip(max=len(known) - 1)
        hit = known[at] == keys
        found[hit] = rows["value"][first[at[hit]]]
    return found


def add(folder: Path, keys: Keys, values: Values) -> None:
    """Keep the number of each key. NaN is not kept. Raises OSError where the folder cannot be written."""
    rows = np.empty(keys.size, _ROW)
    rows["key"], rows["value"] = keys.ravel(), values.ravel()
    rows = rows[~np.isnan(rows["value"])]
    path = folder / _name(rows)
    making = path.with_suffix(f".{os.getpid()}")
    try:
        with making.open("wb") as file:
            np.save(file, rows)
            file.flush()
            os.fsync(file.fileno())
        making.rename(path.with_suffix(".npy"))
    finally:
        making.unlink(missing_ok=True)


def _rows_of(path: Path) -> Any:
    """Return the rows of a file, none where they are not those that it was named for: they are worked out again."""
    try:
        rows = np.load(path)
    except (OSError, ValueError, EOFError):
        return np.empty(0, _ROW)
    return rows if path.stem == _name(rows) else np.empty(0, _ROW)


def _name(rows: Any) -> str:
    return hashlib.sha256(rows.tobytes()).hexdigest()[:32]
