"""Limits of control groups as the kernel writes them, in either version."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from posttrain import limits


def system(root: Path, groups: str, files: dict[str, str]) -> Path:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(groups)
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("groups", "files", "owed"),
    [
        ("0::/\n", {"cpu.max": "150000 100000\n"}, [1.5]),
        ("0::/\n", {"cpu.max": "max 100000\n"}, []),
        ("0::/user/job\n", {"user/job/cpu.max": "max 100000\n", "user/cpu.max": "400000 100000\n"}, [4.0]),
        ("0::/docker/not-there\n", {"cpu.max": "200000 100000\n"}, [2.0]),
        (
            "3:cpu,cpuacct:/job\n2:memory:/job\n1:cpuset:/\n",
            {"cpu,cpuacct/job/cpu.cfs_quota_us": "50000\n", "cpu,cpuacct/job/cpu.cfs_period_us": "100000\n"},
            [0.5],
        ),
        ("1:cpu:/\n0::/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, []),
        ("", {}, []),
    ],
    ids=["version 2", "no limit", "of a group around it", "in a container", "version 1", "no limit, version 1", "none"],
)
def test_limits(tmp_path: Path, groups: str, files: dict[str, str], owed: list[float]) -> None:
    assert list(limits.core_limits(system(tmp_path, groups, files))) == owed


def test_a_system_without_control_groups_has_no_limit(tmp_path: Path) -> None:
    assert list(limits.core_limits(tmp_path)) == []
    assert list(limits.memory_limits(tmp_path)) == []


@pytest.mark.parametrize(
    ("groups", "files", "owed"),
    [
        (
            "0::/slice/job\n",
            {
                "slice/job/memory.max": "max\n",
                "slice/memory.max": "1000\n",
                "slice/memory.current": "700\n",
                "slice/memory.stat": "anon 1\ninactive_file 100\n",
            },
            [(1000, 600)],
        ),
        (
            "4:cpu,memory:/docker\n3:cpuset:/\n",
            {"memory/docker/memory.limit_in_bytes": "500\n", "memory/docker/memory.usage_in_bytes": "50\n"},
            [(500, 50)],
        ),
    ],
    ids=["version 2", "version 1"],
)
def test_limits_on_memory(tmp_path: Path, groups: str, files: dict[str, str], owed: list[tuple[int, int]]) -> None:
    assert list(limits.memory_limits(system(tmp_path, groups, files))) == owed


def test_main_memory() -> None:
    free, total = limits.main_memory()
    assert 0 < free <= total


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores cannot be given away here")
def test_one_core_of_several() -> None:
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert limits.cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert 1 <= limits.cores() <= len(allowed)
