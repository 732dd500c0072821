"""Room on the disk: whether a checkpoint fits before it is written, and whether a failed write found the disk full."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from posttrain.errors import UserError
from posttrain.runs import checkpoints

_FULL = (errno.ENOSPC, errno.EDQUOT)
_NOTHING = 2**20  # bytes: with less than that free, a write that failed found the disk full
_WORDS = ("No space left", "os error 28", "Disk quota exceeded", "os error 122")


def check_room(run: Path) -> None:
    """Raise UserError when the disk has less room than the run's largest checkpoint took."""
    needed, free = max(checkpoints.sizes(run), default=0), shutil.disk_usage(run).free
    if needed > free:
        raise no_room(run, f"the next checkpoint takes {megabytes(needed)} and {megabytes(free)} are free")


def no_room(run: Path, message: str = "the disk is full") -> UserError:
    """Return the error that says so, and what the run goes on from when there is room."""
    last = checkpoints.newest(run)
    step = f"step {checkpoints.step_of(last)}" if last else "the start, since no checkpoint was saved yet"
    return UserError(message, where=str(run), fix=f"make room, and run the same command again: it goes on from {step}")


@contextmanager
def said_if_full(run: Path) -> Iterator[None]:
    """Have a disk that is found full, whatever was being written, said as one message: UserError."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if is_full(error):
            raise no_room(run) from error
        raise


def is_full(error: BaseException | None, free: int = _NOTHING) -> bool:
    """Whether an error, or what it came from, says that the disk is full. PyTorch says only that it could not write:
    then it is when next to nothing is `free`."""
    if free < _NOTHING and error is not None:
        return True
    while error is not None:
        if (isinstance(error, OSError) and error.errno in _FULL) or any(word in str(error) for word in _WORDS):
            return True
        error = error.__cause__ or error.__context__
    return False


def megabytes(size: float) -> str:
    """``9.8 MB``, or GB, of 10^6 and 10^9 bytes."""
    number, unit = (size / 1e9, "GB") if size >= 1e9 else (size / 1e6, "MB")
    return f"{number:,.0f} {unit}" if number >= 100 else f"{number:.1f} {unit}"
