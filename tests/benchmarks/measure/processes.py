"""Commands that are timed, watched and bounded, and that leave nothing behind, however the benchmark itself ends."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_LOOK_SECONDS = 0.5
_GRACE_SECONDS = 8


class RunFailed(Exception):
    """A command that did not do what was to be measured."""


@dataclass(frozen=True)
class Usage:
    """What a command took: seconds by the clock and of processor (children that it waited for included), and bytes.

    `memory` is the highest sum over the process and its children that a look every half second saw, shared pages
    counted once (PSS).
    """

    started: float
    seconds: float
    processor: float
    memory: int


def run(command: Sequence[str], *, folder: Path, environ: Mapping[str, str], limit: float) -> Usage:
    """Run a command in `folder`, with its output in ``folder/log``. Raise RunFailed if it fails, or is not done within
    `limit` seconds.

    Its processes end with it: also when this one is killed, since a shell in a session of its own then ends them.
    """
    if limit <= 0:
        raise RunFailed("no time is left for it")
    log = folder / "log"
    started = time.time()
    with log.open("wb") as file:
        child = subprocess.Popen(
            command, cwd=folder, env=dict(environ), stdin=subprocess.DEVNULL, stdout=file, stderr=file,
            start_new_session=True,
        )  # fmt: skip
    guard = _guard(child.pid)
    done, late = threading.Event(), threading.Event()
    highest = 0

    def watch() -> None:
        nonlocal highest
        while not done.wait(_LOOK_SECONDS):
            highest = max(highest, sum(map(pss, tree(child.pid))))
            if time.time() - started > limit:
                late.set()
                end(child.pid)
                return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        _, status, used = os.wait4(child.pid, 0)
        seconds = time.time() - started
        child.returncode = os.waitstatus_to_exitcode(status)
    finally:
        done.set()
        watcher.join()
        if child.returncode is None:
            end(child.pid)
        _send(os.killpg, child.pid, signal.SIGKILL)
        guard.kill()
        guard.wait()
    if late.is_set():
        raise RunFailed(f"took longer than {limit:.0f} s and was ended\n{tail(log)}")
    if child.returncode:
        raise RunFailed(f"{' '.join(command)} ended with {child.returncode}\n{tail(log)}")
    return Usage(started, seconds, used.ru_utime + used.ru_stime, highest)


def _guard(pid: int) -> subprocess.Popen[bytes]:
    """Return a shell that waits for this process to end and then ends the session of `pid`: it reads a pipe that only
    this process holds open."""
    script = 'read -r _; kill -s TERM -- "-$0"; sleep "$1"; kill -s KILL -- "-$0"'
    argv = ["sh", "-c", script, str(pid), str(_GRACE_SECONDS)]
    nowhere = subprocess.DEVNULL
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=nowhere, stderr=nowhere, start_new_session=True)


def end(pid: int) -> None:
    """End a command that leads its session, and every process under it: its group is asked, and what is left killed."""
    members = tree(pid)
    _send(os.killpg, pid, signal.SIGTERM)
    deadline = time.monotonic() + _GRACE_SECONDS
    while time.monotonic() < deadline and any(map(_runs, members)):
        time.sleep(0.1)
    for member in members:
        _send(os.kill, member, signal.SIGKILL)
    _send(os.killpg, pid, signal.SIGKILL)


def _send(how: Callable[[int, int], None], pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        how(pid, number)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def tail(log: Path, lines: int = 25) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


def tree(pid: int) -> list[int]:
    """The process and its children, theirs included."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(each for child in children for each in tree(int(child)))]


def pss(pid: int) -> int:
    """Proportional set size in bytes: shared pages divided among those who share them."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
