"""Signals and time limits that end a command: what each means, what may be finished first, and how long that may take.

A command leaves where it is: a signal raises Stopped in the main thread, files that are half written go, and after
LEAVE_SECONDS the process ends whatever hinders it. Inside `held` a signal is only remembered, since something must be
finished first (a step and its checkpoint); inside `leavable` within that, it leaves again. A second signal ends the
process, and everything it started, at once.

Python runs its signal handlers between two instructions of the main thread, which may be in a library for minutes. So a
thread of its own keeps these times.
"""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import NoReturn

from posttrain.errors import Stopped, stop_code

WARNINGS = (signal.SIGUSR1, signal.SIGUSR2)
"""What SLURM is asked to send some time before the end (``--signal``): a real signal may follow, and is the first."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, *WARNINGS)

LEAVE_SECONDS = 10.0
AGAIN_SECONDS = 1.0
"""Signals closer together are one: `timeout`, SLURM and torchrun send to a process and to its group."""
SPARE_SECONDS = 5.0
"""Of a time limit, for the way out."""
ENDS_AT = "POSTTRAIN_ENDS_AT"
"""Tells the ranks when their time is up: seconds since the epoch, and whose limit that is."""

BEGAN = time.time()
_POLL_SECONDS = 0.25


@dataclass
class _State:
    """What was asked of this process. `firm` is when the first signal that is no warning came (time.monotonic)."""

    number: int | None = None
    why: str = ""
    since: float = 0.0
    firm: float | None = None
    held: int = 0
    leavable: bool = False
    tell: Callable[[int], None] = field(default=lambda number: None)
    ends_at: float | None = None
    limit: str = ""
    reserve: float = SPARE_SECONDS


_state = _State()
_pipe: tuple[int, int] | None = None


def asked() -> int | None:
    """Return the signal by which this process was asked to stop, if it was."""
    return _state.number


def why() -> str:
    """Return what asked this process to stop: ``SIGTERM``, or the limit that was near."""
    return _state.why


def is_leaving() -> bool:
    """Whether a signal is not only remembered, but ends what is going on."""
    return _state.leavable or not _state.held


def seconds_since() -> float:
    """Return for how long this process has been asked to stop."""
    return time.monotonic() - _state.since if _state.number is not None else 0.0


def listen() -> None:
    """Have signals stop this process from now on. Nothing happens outside the main thread, or the second time."""
    global _pipe, _state
    if _pipe is not None or threading.current_thread() is not threading.main_thread():
        return
    _state = _State()
    _pipe = os.pipe()
    for end in _pipe:
        os.set_blocking(end, False)
    for number in SIGNALS:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup has it ignored
            signal.signal(number, _on_signal)
    signal.set_wakeup_fd(_pipe[1], warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(_pipe[0], _state), name="stopping", daemon=True).start()


@contextmanager
def listening() -> Iterator[None]:
    """Have signals stop this process while this holds."""
    global _pipe
    if _pipe is not None or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    listen()
    assert _pipe is not None
    try:
        yield
    finally:
        signal.set_wakeup_fd(-1)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(_pipe[1])  # which ends the thread
        _pipe = None


@contextmanager
def held(tell: Callable[[int], None] = lambda number: None) -> Iterator[None]:
    """Only remember signals while this holds; `tell` is called with each that comes, between any two instructions."""
    before, _state.tell = _state.tell, tell
    _state.held += 1
    try:
        yield
    finally:
        _state.held -= 1
        _state.tell = before


def check() -> None:
    """Leave with Stopped, if a signal has come while this process held."""
    if _state.number is not None:
        raise Stopped(_state.number)


@contextmanager
def leavable() -> Iterator[None]:
    """Inside `held`: leave this part with Stopped when a signal comes, or has come."""
    before, _state.leavable = _state.leavable, True
    try:
        if _state.held:
            check()
        yield
    finally:
        _state.leavable = before


def limit(ends_at: float, whose: str) -> None:
    """Stop this process so early that it is gone at `ends_at` (time.time); `whose` limit that is stands in messages.
    Of several limits the first counts. A process started by this one finds it in its environment (`take_limits`)."""
    if _state.ends_at is None or ends_at < _state.ends_at:
        _state.ends_at, _state.limit = ends_at, whose
        os.environ[ENDS_AT] = f"{ends_at} {whose}"
        if _pipe is not None:
            os.write(_pipe[1], b"\0")  # the thread waits for signals only, so far


def take_limits(max_minutes: float | None = None, began: float | None = None) -> None:
    """Take over the limits that hold for this process: `max_minutes` after `began` (time.time; its start), the end of
    the SLURM job, and what the process that started it has found."""
    if max_minutes is not None:
        limit((began or BEGAN) + 60 * max_minutes, f"--max-minutes {max_minutes:g}")
    if (end := os.environ.get("SLURM_JOB_END_TIME", "")).isdigit():
        limit(float(end), "the time limit of the SLURM job")
    if ENDS_AT in os.environ:
        ends_at, whose = os.environ[ENDS_AT].split(" ", 1)
        limit(float(ends_at), whose)


def leave_limits() -> None:
    """Leave the limits to the processes that this one starts."""
    _state.ends_at = None


def reserve(seconds: float) -> None:
    """Say how long stopping will take from now on, so that a limit is told of in time."""
    _state.reserve = seconds + SPARE_SECONDS


def last_words(stop: Stopped) -> str:
    """Return what a command says at its end: what stopped it, what there is to go on from, and how a SLURM job does."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    job = f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")
    by = f" by {_state.why}" if _state.why else ""  # ranks that stop by themselves have said why
    text = f"stopped{by}" + (f": {stop.kept}" if stop.kept else "")
    return text + (f"\n  to go on as a SLURM job: scontrol requeue {job}" if job else "")


@contextmanager
def sheltered() -> Iterator[None]:
    """Start processes inside this: the signals wait for them until `be_apart`, and for us until this is over."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def be_apart() -> None:
    """In a process that works for another: leave its process group, so that what a terminal or a scheduler sends to the
    group reaches the other alone, which then ends this one."""
    os.setpgid(0, 0)
    for number in SIGNALS:
        handler = signal.getsignal(number)
        signal.signal(number, signal.SIG_IGN)  # which forgets what waits
        signal.signal(number, signal.SIG_DFL if callable(handler) else handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def say(text: str) -> None:
    """Write to stderr from a signal handler, which may have interrupted another writer."""
    with suppress(OSError):  # nobody reads it any more
        os.write(2, f"{text}\n".encode())


def _on_signal(number: int, frame: FrameType | None) -> None:
    first = _state.number is None
    if first:
        _state.number, _state.since = number, time.monotonic()
        _state.why = _state.why or signal.Signals(number).name
    if _state.held:
        _state.tell(number)
    if first and (_state.leavable or not _state.held):
        raise Stopped(number)


def _watch(wakeups: int, state: _State) -> None:
    """Keep the times: of a limit, of leaving, of the second signal. Ends when the other end of the pipe is closed."""
    seen: int | None = None  # which the handler may not have
    leaving: float | None = None
    while True:
        quiet = seen is None and state.ends_at is None
        ready, _, _ = select.select([wakeups], [], [], None if quiet else _POLL_SECONDS)
        numbers = os.read(wakeups, 64) if ready else b""
        if ready and not numbers:
            os.close(wakeups)
            return
        now = time.monotonic()
        for number in numbers:
            seen = seen or (number if number in SIGNALS else None)
            if number in SIGNALS and number not in WARNINGS:
                if state.firm is not None and now - state.firm >= AGAIN_SECONDS:
                    end_now(number, "stopped at once")
                state.firm = state.firm or now
        if state.ends_at is not None and seen is None and time.time() >= state.ends_at - state.reserve:
            state.why, state.ends_at = state.limit, None
            os.kill(os.getpid(), signal.SIGUSR1)
        if seen is None or state.held:
            leaving = None
        elif leaving is None:
            leaving = now
        elif now - leaving >= LEAVE_SECONDS:
            end_now(seen, f"ended: it had not stopped after {LEAVE_SECONDS:g} s")


def end_now(number: int, text: str) -> NoReturn:
    """End this process and all that it has started, from any thread."""
    say(text)
    for pid in _descendants(os.getpid()):
        with suppress(OSError):  # it has ended
            os.kill(pid, signal.SIGKILL)
    os._exit(stop_code(number))


def _descendants(pid: int) -> list[int]:
    """Return the processes that a process has started, and those that they have, on Linux."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue  # it has ended
    found, last = [], {pid}
    while last:
        last = {child for child, parent in parents.items() if parent in last}
        found += sorted(last)
    return found


def _after_fork() -> None:
    """A forked child shares our pipe, and would tell us of its own signals."""
    global _pipe
    if _pipe is None:
        return
    signal.set_wakeup_fd(-1)
    _pipe = None
    be_apart()


os.register_at_fork(after_in_child=_after_fork)
