"""How much main memory there is to use."""

from __future__ import annotations

from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
_OWN_GROUPS = Path("/proc/self/cgroup")
_GROUPS = Path("/sys/fs/cgroup")


def main_memory() -> tuple[int, int]:
    """Return the bytes of main memory that are available, and all there are, to this process: the machine's, or less
    where a control group, or one above it, has less."""
    lines = (line.split() for line in _MEMINFO.read_text(encoding="ascii").splitlines())
    kilobytes = {words[0].rstrip(":"): int(words[1]) for words in lines}
    free, total = kilobytes["MemAvailable"] * 1024, kilobytes["MemTotal"] * 1024
    for limit, used in group_limits(_OWN_GROUPS.read_text(encoding="utf-8") if _OWN_GROUPS.exists() else "", _GROUPS):
        free, total = min(free, max(limit - used, 0)), min(total, limit)
    return free, total


def group_limits(own: str, root: Path) -> list[tuple[int, int]]:
    """Return (limit, in use) in bytes of each control group around us that has a limit; `own` is what
    /proc/self/cgroup says. Pages of files that could be dropped are not in use."""
    found = []
    for line in own.splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0" and not controllers:
            folder, names = root, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            folder, names = root / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        # In a container the path may be that of the machine outside, while its own groups lie at the root.
        inner = folder / path.lstrip("/")
        for group in (inner, *inner.parents):
            if group.is_relative_to(folder) and (limit := _number(group / names[0])) is not None:
                found.append((limit, max((_number(group / names[1]) or 0) - _dropped(group, names[2]), 0)))
    return found


def _number(file: Path) -> int | None:
    try:
        text = file.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return None if text == "max" else int(text)


def _dropped(group: Path, name: str) -> int:
    try:
        lines = (group / "memory.stat").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.split()[0] == name), 0)
