"""Runs a plan's processes to their common end: all finish, or the first to fail ends the others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from posttrain.errors import Stopped
from posttrain.launch.failure import clear_failures, error_of
from posttrain.launch.plan import Plan, Process

_POLL_SECONDS = 0.1
_GRACE_SECONDS = 5.0
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_STOP_CODES = tuple(128 + number for number in _STOP_SIGNALS)

Child = subprocess.Popen[bytes]


def run_plan(plan: Plan, lock: int | None = None) -> None:
    """Run the plan's processes until all are done. `lock` is the run directory's: they hold it too, so that nobody
    else works there while one of them is left, though this process be killed.

    SIGINT and SIGTERM go on to all of them once, and they are given the time they need to save; a second one
    kills them. Raises the first failed rank's own UserError or GateError, RankFailed for a crash or a killed
    rank, and Stopped when the ranks stopped on a signal.
    """
    clear_failures(plan.run)
    children: list[Child] = []
    with _forwarding(children) as received:
        try:
            for process in plan.processes:
                if not received:
                    children.append(_start(process, () if lock is None else (lock,)))
            codes = _wait(children, received)
        finally:
            _end(children)
    failed = [(process, code) for process, code in zip(plan.processes, codes, strict=False) if code]
    stopped = [*received, *(code - 128 for _, code in failed if code in _STOP_CODES)]
    if stopped and (failed or len(children) < len(plan.processes)):
        raise Stopped(stopped[0])
    if failed:
        raise error_of(plan.run, failed)


def _start(process: Process, descriptors: tuple[int, ...]) -> Child:
    """Start one process. It gets a session of its own, so that a terminal's Ctrl-C reaches it only through
    us, and its output never goes to our stdout."""
    environ = {**os.environ, **process.environ}
    options: dict[str, Any] = {"env": environ, "pass_fds": descriptors, "start_new_session": True}
    sys.stderr.flush()
    if process.log is None:
        return subprocess.Popen(process.argv, stdout=2, stderr=2, **options)
    process.log.parent.mkdir(parents=True, exist_ok=True)
    with process.log.open("wb") as log:
        return subprocess.Popen(process.argv, stdout=log, stderr=log, **options)


@contextmanager
def _forwarding(children: list[Child]) -> Iterator[list[int]]:
    """Pass stop signals on while this holds, and yield the list of those that came."""
    received: list[int] = []

    def on_signal(number: int, frame: object) -> None:
        received.append(number)
        for child in [child for child in children if child.returncode is None]:
            os.kill(child.pid, number if len(received) == 1 else signal.SIGKILL)

    before = {number: signal.signal(number, on_signal) for number in _STOP_SIGNALS}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(children: list[Child], received: list[int]) -> list[int | None]:
    """Return the exit codes once every child is done or one has failed; None is a child that still runs.

    A child that stopped on a signal has not failed: the others are still saving.
    """
    while True:
        codes = [_exit_code(child) for child in children]
        stops = {0, None, *_STOP_CODES, *(-number for number in received)}
        if None not in codes or not stops.issuperset(codes):
            return codes
        time.sleep(_POLL_SECONDS)


def _exit_code(child: Child) -> int | None:
    """Return how a child ended, as Popen says it. It is not reaped, so its id stays its own until `_end`."""
    ended = os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if ended is None:
        return None
    return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status


def _end(children: list[Child]) -> None:
    """Ask what still runs to end, then kill each child's whole session: its own children go with it."""
    for child in children:
        os.kill(child.pid, signal.SIGTERM)
    deadline = time.monotonic() + _GRACE_SECONDS
    while None in map(_exit_code, children) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    for child in children:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
