"""What the machine lets this process have, or the container around it: cores and main memory."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path("/")


def cores() -> int:
    """The cores that this process may run on, and no more than the share of time that a container gives it."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, math.ceil(min(core_limits(_ROOT), default=allowed))))


def main_memory() -> tuple[int, int]:
    """Return the bytes of main memory that are available, and all there are, to this process: the machine's, or less
    where a control group, or one above it, has less."""
    lines = (line.split() for line in (_ROOT / "proc/meminfo").read_text(encoding="ascii").splitlines())
    kilobytes = {words[0].rstrip(":"): int(words[1]) for words in lines}
    free, total = kilobytes["MemAvailable"] * 1024, kilobytes["MemTotal"] * 1024
    for limit, used in memory_limits(_ROOT):
        free, total = min(free, max(limit - used, 0)), min(total, limit)
    return free, total


def kernel_kills() -> int:
    """Return how many processes of this machine the kernel has killed for lack of memory since it started, those of a
    control group among them; 0 where it does not say."""
    counts = (line.split() for line in _read(_ROOT / "proc/vmstat").splitlines())
    return next((int(words[1]) for words in counts if words[0] == "oom_kill"), 0)


def core_limits(root: Path) -> Iterator[float]:
    """Yield the limits on this process's time, in cores."""
    for group, version in _groups(root, "cpu"):
        names = ("cpu.max",) if version == 2 else ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        words = " ".join(_read(group / name) for name in names).split()
        if len(words) == 2 and words[0] not in ("max", "-1"):
            yield int(words[0]) / int(words[1])


def memory_limits(root: Path) -> Iterator[tuple[int, int]]:
    """Yield (limit, in use) in bytes of each limit on main memory. Pages of files that could be dropped are not in
    use."""
    for group, version in _groups(root, "memory"):
        names = ("memory.max", "memory.current") if version == 2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
        limit, used = (_read(group / name).strip() for name in names)
        if limit not in ("", "max"):
            stat = dict(line.split() for line in _read(group / "memory.stat").splitlines())
            dropped = int(stat.get("inactive_file" if version == 2 else "total_inactive_file", 0))
            yield int(limit), max(int(used or 0) - dropped, 0)


def _groups(root: Path, controller: str) -> Iterator[tuple[Path, int]]:
    """Yield this process's control group for a controller and those around it, with their version (1 or 2).

    In a container the group's own path may be that of the machine outside, while the limit stands at the top.
    """
    top = root / "sys/fs/cgroup"
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        folder = next((top / name for name in (controllers, controller) if (top / name).is_dir()), top)
        group = folder / path.lstrip("/")
        for around in (group, *group.parents):
            if around.is_relative_to(folder):
                yield around, 1 if controllers else 2


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii")
    except OSError:
        return ""
