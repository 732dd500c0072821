"""Limits of control groups as the kernel writes them, in either version."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from posttrain import cores


def system(root: Path, groups: str, files: dict[str, str]) -> Path:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(groups)
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("groups", "files", "limits"),
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
def test_limits(tmp_path: Path, groups: str, files: dict[str, str], limits: list[float]) -> None:
    assert list(cores._quotas(system(tmp_path, groups, files))) == limits


def test_a_system_without_control_groups_has_no_limit(tmp_path: Path) -> None:
    assert list(cores._quotas(tmp_path)) == []


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores cannot be given away here")
def test_one_core_of_several() -> None:
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert cores.cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert 1 <= cores.cores() <= len(allowed)
