"""What was made of the rows, kept under a key of all that it was made from: a second start finds it.

A key holds the digest of the content, the settings, the version of this package's code and of the libraries that
had a part; nothing is looked up by name or by time, so nothing found is stale. The directory may be deleted at any
time.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO

from posttrain.errors import UserError

UNUSED_DAYS = 30
"""Entries that nobody has asked for this long are deleted when another is made."""

_LIBRARIES = ("pyarrow", "transformers", "tokenizers", "jinja2")


def cache_dir() -> Path:
    """``$POSTTRAIN_CACHE``, else ``posttrain`` in the user's cache directory (``$XDG_CACHE_HOME``, ``~/.cache``)."""
    own = os.environ.get("POSTTRAIN_CACHE")
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "posttrain"


def cached(kind: str, key: Mapping[str, Any], make: Callable[[Path], None], *, code: bool = True) -> Path:
    """Return the directory that `make` filled for `key`, now or earlier.

    With `code`, another version of this package makes its own. One process makes an entry, and others that ask
    for it meanwhile wait. What `make` raises leaves nothing behind.
    Raises UserError where the cache cannot be written.
    """
    text = json.dumps({"code": _code_version() if code else None, **key}, sort_keys=True, ensure_ascii=False)
    entry = cache_dir() / kind / hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    try:
        if not entry.is_dir():  # one that is there is whole, and may lie where nothing can be written
            entry.parent.mkdir(parents=True, exist_ok=True)
            with _locked(entry.with_suffix(".lock")):
                if not entry.is_dir():
                    _forget_unused(entry.parent)
                    _make(make, entry)
        with suppress(OSError):
            os.utime(entry)
    except OSError as error:
        raise UserError(
            f"prepared rows cannot be kept: {error}",
            where=str(cache_dir()),
            fix="Make room there, or set POSTTRAIN_CACHE to another directory.",
        ) from error
    return entry


def file_digest(path: str | Path) -> str:
    """SHA-256 in hexadecimal over a file's content."""
    total = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            total.update(block)
    return total.hexdigest()


def _make(make: Callable[[Path], None], entry: Path) -> None:
    making = entry.with_suffix(".making")
    shutil.rmtree(making, ignore_errors=True)  # of a process that was killed
    making.mkdir()
    try:
        make(making)
        making.rename(entry)
    finally:
        shutil.rmtree(making, ignore_errors=True)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        started, told = time.monotonic(), False
        while not _try_lock(file):
            if not told and time.monotonic() - started > 2:
                print("waiting for another process that prepares the same rows", file=sys.stderr)
                told = True
            time.sleep(0.1)
        yield


def _try_lock(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _forget_unused(folder: Path) -> None:
    oldest = time.time() - UNUSED_DAYS * 24 * 3600
    for entry in folder.iterdir():
        with suppress(OSError):  # another process forgets it too
            if entry.is_dir() and entry.stat().st_mtime < oldest:
                gone = entry.with_suffix(".gone")  # half deleted, it must not be found
                entry.rename(gone)
                shutil.rmtree(gone, ignore_errors=True)


@cache
def _code_version() -> str:
    """A digest of this package's source files and the versions of the libraries that shape rows."""
    total = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        total.update(path.read_bytes())
    return " ".join([total.hexdigest(), *(f"{name}={version(name)}" for name in _LIBRARIES)])
