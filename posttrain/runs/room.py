"""Room on the disk: whether a checkpoint fits before it is written, and whether a failed write found the disk full."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

from posttrain.errors import UserError
from posttrain.runs import checkpoints

_FULL = (errno.ENOSPC, errno.EDQUOT)
_NOTHING = 2**20  # bytes: with less than that free, a write that failed found the disk full
_WORDS = ("No space left", "os error 28", "Disk quota exceeded", "os error 122")


def check_room(run: Path) -> None:
    """Raise UserError when the disk has less room than the run's last checkpoint took."""
    needed, free = max(checkpoints.sizes(run), default=0), shutil.disk_usage(run).free
    if needed > free:
        last = checkpoints.newest(run)
        raise UserError(
            f"the next checkpoint takes {megabytes(needed)} and {megabytes(free)} are free",
            where=str(run),
            fix=f"make room, and run the same command again: it goes on from step "
            f"{checkpoints.step_of(last) if last else 0}",
        )


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
