"""Runs a plan's processes to their common end: all finish, or the first to fail ends the others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from posttrain import stopping
from posttrain.errors import EXIT_INTERRUPTED, EXIT_STOPPED, Stopped
from posttrain.launch.failure import clear_failures, error_of
from posttrain.launch.plan import Plan, Process
from posttrain.limits import kernel_kills

_POLL_SECONDS = 0.1
_GRACE_SECONDS = 5.0
_STOP_CODES = {EXIT_INTERRUPTED: signal.SIGINT, EXIT_STOPPED: signal.SIGTERM}

Child = subprocess.Popen[bytes]


def run_plan(plan: Plan) -> None:
    """Run the plan's processes until all are done.

    A signal goes on to all of them, and so does one that only a rank got; they are given the time they need to save. A
    second one kills them. Raises the first failed rank's own UserError or GateError, RankFailed for a crash or a killed
    rank, and Stopped when the ranks stopped on a signal or by their time limit.
    """
    clear_failures(plan.run)
    kills = kernel_kills()
    children: list[Child] = []
    with _forwarding(children) as received:
        try:
            for process in plan.processes:
                if not received:
                    children.append(_start(process))
            codes = _wait(children, received)
        finally:
            _end(children)
    failed = [(process, code) for process, code in zip(plan.processes, codes, strict=False) if code]
    stopped = [*received, *(_STOP_CODES[code] for _, code in failed if code in _STOP_CODES)]
    if stopped and (failed or len(children) < len(plan.processes)):
        raise Stopped(stopped[0])
    if failed:
        raise error_of(plan.run, failed, kernel_kills=kernel_kills() - kills)


def _start(process: Process) -> Child:
    """Start one process. It gets a session of its own, so that a terminal's Ctrl-C reaches it only through
    us, and its output never goes to our stdout."""
    environ = {**os.environ, **process.environ}
    sys.stderr.flush()
    if process.log is None:
        return subprocess.Popen(process.argv, env=environ, stdout=2, stderr=2, start_new_session=True)
    process.log.parent.mkdir(parents=True, exist_ok=True)
    with process.log.open("wb") as log:
        return subprocess.Popen(process.argv, env=environ, stdout=log, stderr=log, start_new_session=True)


@contextmanager
def _forwarding(children: list[Child]) -> Iterator[list[int]]:
    """Pass signals on while this holds, and yield the list of those that came."""
    received: list[int] = []

    def forward(number: int) -> None:
        received.append(number)
        _pass_on(children, number)

    with stopping.listening(), stopping.held(forward):
        stopping.leave_limits()
        yield received


def _pass_on(children: list[Child], number: int) -> None:
    for child in children:
        if child.returncode is None:
            os.kill(child.pid, number)


def _wait(children: list[Child], received: list[int]) -> list[int | None]:
    """Return the exit codes once every child is done or one has failed; None is a child that still runs.

    A child that stopped on a signal has not failed: the others are still saving, or are told to stop as well.
    """
    told = False
    while True:
        codes = [_exit_code(child) for child in children]
        stops = {0, None, *_STOP_CODES, *(-number for number in received)}
        if None not in codes or not stops.issuperset(codes):
            return codes
        own = next((_STOP_CODES[code] for code in codes if code in _STOP_CODES), None)
        if own and not received and not told:
            told = True
            _pass_on(children, own)
        time.sleep(_POLL_SECONDS)


def _exit_code(child: Child) -> int | None:
    """Return how a child ended, as Popen says it. It is not reaped, so its id stays its own until `_end`."""
    ended = os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if ended is None:
        return None
    return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status


def _end(children: list[Child]) -> None:
    """Ask what still runs to end, then kill each child's whole group: its own children go with it."""
    for child in children:
        os.kill(child.pid, signal.SIGTERM)
    deadline = time.monotonic() + _GRACE_SECONDS
    while None in map(_exit_code, children) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    for child in children:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
