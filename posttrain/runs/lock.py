"""One process works in a run directory at a time, in that directory alone.

The lock is the kernel's (flock): it ends with the process, however that ends. Ranks hold one of their own, since they
outlive a launcher that was killed by the time they need to save.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from posttrain.errors import UserError

LOCK, RANKS = "lock", "ranks.lock"

LONGEST_WAIT_SECONDS = 60.0
_POLL_SECONDS = 0.2
_held: set[int] = set()


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Hold the run directory for this process; a process that dies lets go of it.

    Waits for the ranks of an earlier start to end. Raises UserError when another process has the directory, when it is
    not a run's, and when something in it leads out of it.
    """
    _refuse_links(run)
    try:
        run.mkdir(parents=True, exist_ok=True)
        lock, ranks = _open(run / LOCK), _open(run / RANKS)
    except OSError as error:
        raise UserError(f"{run} cannot be written: {error.strerror}", where="out", fix="name another --out") from error
    with _holding(lock), _holding(ranks):
        if not _try(lock, fcntl.LOCK_EX):
            raise UserError(
                f"another process is working in {run}", where="out", fix="wait for it, or name another --out"
            )
        _wait_for(ranks, run)
        yield


@contextmanager
def rank_in(run: Path) -> Iterator[None]:
    """Say, while this holds, that a rank is at work in the run directory, whoever started it."""
    with _holding(_open(run / RANKS)) as ranks:
        fcntl.flock(ranks, fcntl.LOCK_SH)
        yield


def _wait_for(ranks: int, run: Path) -> None:
    """Wait until the ranks of an earlier start are gone. New ones come only after this."""
    deadline, told = time.monotonic() + LONGEST_WAIT_SECONDS, False
    while not _try(ranks, fcntl.LOCK_EX):
        if time.monotonic() > deadline:
            raise UserError(f"ranks of an earlier start are still working in {run}", where="out", fix="end them first")
        if not told:
            print(f"waiting for ranks of an earlier start, which still work in {run}", file=sys.stderr)
            told = True
        time.sleep(_POLL_SECONDS)
    fcntl.flock(ranks, fcntl.LOCK_UN)


def _open(path: Path) -> int:
    """Open a lock's file without following a link, and without touching what is in it."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)


def _try(lock: int, kind: int) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _holding(lock: int) -> Iterator[int]:
    _held.add(lock)
    try:
        yield lock
    finally:
        _held.discard(lock)
        os.close(lock)


def _let_go() -> None:
    """In a forked child: it would hold the lock beyond its parent's death."""
    for lock in _held:
        os.close(lock)
    _held.clear()


os.register_at_fork(after_in_child=_let_go)


def _refuse_links(run: Path) -> None:
    """Raise UserError for a symbolic link in `run` that leads out of it: what is written there would be written, or
    deleted, elsewhere. The directory itself may be one."""
    inside = os.path.realpath(run)
    for folder, folders, files in os.walk(inside):
        for name in (*folders, *files):
            path = os.path.join(folder, name)
            if os.path.islink(path) and not os.path.realpath(path).startswith(inside + os.sep):
                raise UserError(
                    f"{path} is a link that leads out of the run directory, to {os.path.realpath(path)}",
                    where="out",
                    fix="remove the link, or name another --out",
                )
