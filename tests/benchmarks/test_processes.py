"""Commands are timed, bounded, and leave no process behind, also when the benchmark itself is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from measure.processes import RunFailed, run, tree

PARENT_AND_CHILD = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
open("pids", "w").write(f"{os.getpid()} {child.pid}")
os.rename("pids", "pids-written")
time.sleep(60)
"""


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def pids_in(folder: Path) -> list[int]:
    until = time.monotonic() + 20
    while not (folder / "pids-written").exists():
        assert time.monotonic() < until
        time.sleep(0.05)
    return [int(pid) for pid in (folder / "pids-written").read_text().split()]


def gone(pids: list[int], seconds: float) -> bool:
    until = time.monotonic() + seconds
    while any(map(runs, pids)) and time.monotonic() < until:
        time.sleep(0.1)
    return not any(map(runs, pids))


def test_usage_is_the_commands_own(tmp_path: Path) -> None:
    busy = "import time\nkept = bytearray(50_000_000)\nwhile time.process_time() < 0.7: pass\ntime.sleep(0.6)"
    used = run([sys.executable, "-c", busy], folder=tmp_path, environ=os.environ, limit=60)
    assert used.seconds > 1.2
    assert 0.6 < used.processor < used.seconds
    assert 50e6 < used.memory < 200e6


def test_a_failure_shows_the_end_of_the_output(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match=r"ended with 3\n(?s:.*)no such luck"):
        run(["sh", "-c", "echo no such luck; exit 3"], folder=tmp_path, environ=os.environ, limit=60)


def test_what_takes_too_long_is_ended_with_its_children(tmp_path: Path) -> None:
    start = time.monotonic()
    with pytest.raises(RunFailed, match="longer than 1 s"):
        run([sys.executable, "-c", PARENT_AND_CHILD], folder=tmp_path, environ=os.environ, limit=1)
    assert time.monotonic() - start < 20
    assert gone(pids_in(tmp_path), 1)


def test_a_killed_benchmark_leaves_nothing_behind(tmp_path: Path) -> None:
    benchmark = (
        f"import os, sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from pathlib import Path; from measure.processes import run\n"
        f"run([sys.executable, '-c', {PARENT_AND_CHILD!r}], folder=Path({str(tmp_path)!r}), "
        "environ=os.environ, limit=60)"
    )
    killed = subprocess.Popen([sys.executable, "-c", benchmark])
    pids = pids_in(tmp_path)
    assert set(pids) < set(tree(killed.pid))
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert gone(pids, 20)
