"""The processes of a run, found by a mark in their environment: also those that have lost their parent."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

MARK = "POSTTRAIN_FAULTS"
_LOOK_SECONDS = 0.05


def marked(mark: str) -> dict[int, int | None]:
    """Return the living processes that carry the mark, each with its RANK; a launcher has none."""
    found: dict[int, int | None] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and runs(int(entry.name)):
            environ = _environ(entry)
            if environ.get(MARK) == mark:
                found[int(entry.name)] = int(environ["RANK"]) if "RANK" in environ else None
    return found


def _environ(entry: Path) -> dict[str, str]:
    """Return what a process was started with; a process that is gone, or another user's, was started with nothing."""
    try:
        pairs = (entry / "environ").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return {}
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


def runs(pid: int) -> bool:
    """Tell whether a process runs; one that ended and was not reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def seconds_until_gone(mark: str, limit: float) -> float | None:
    """Wait for every process with the mark to end; return how long that took, None if some still run at the limit."""
    started = time.monotonic()
    while time.monotonic() - started < limit:
        if not marked(mark):
            return time.monotonic() - started
        time.sleep(_LOOK_SECONDS)
    return None


def kill(pid: int) -> None:
    """SIGKILL, to one process and nothing else."""
    with suppress(ProcessLookupError):
        os.kill(pid, 9)
