"""A few processes that compare mathematical answers with math-verify; each can be killed at any time.

math-verify limits its time by SIGALRM, which works only in a main thread and never inside big-integer
arithmetic, so one sample like 9^{9^{9^9}} can stop a training run. Here the caller keeps the clock.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import queue
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

WORKERS = max(1, min(4, os.cpu_count() or 1))
REQUESTS_PER_WORKER = 2000
"""A worker is replaced after this many requests: sympy's caches grow without end."""
START_SECONDS = 120.0


class MathError(Exception):
    """The comparison could not be made, for a reason that is not the answer's."""


class Worker:
    """One process, used by one thread at a time."""

    def __init__(self) -> None:
        self.requests = 0
        self.pending = 1  # replies that are still to come; the first says that math-verify is imported
        self._received = b""
        self._process = subprocess.Popen(
            [sys.executable, "-I", str(Path(__file__).with_name("math_worker.py")), json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # Out of the terminal's reach: a Ctrl-C is for the run, which still has completions to grade.
            start_new_session=True,
        )

    def send(self, request: dict[str, Any]) -> None:
        """Send a request, which two replies will answer; raises MathError if the process is gone."""
        assert self._process.stdin is not None
        self.requests += 1
        self.pending += 2
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise MathError(self._gone()) from None

    def receive(self, deadline: float) -> dict[str, Any]:
        """Return the next reply; raises TimeoutError at `deadline` (time.monotonic), MathError at the end."""
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._received:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise TimeoutError
                data = os.read(self._process.stdout.fileno(), 65536)
                if not data:
                    raise MathError(self._gone())
                self._received += data
        line, _, self._received = self._received.partition(b"\n")
        self.pending -= 1
        return json.loads(line)

    def kill(self) -> None:
        """End the process, whatever it is doing."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def _gone(self) -> str:
        return f"the math-verify process ended with status {self._process.wait()}"


# One slot a worker; an empty one is filled when it is taken. Last in, first out takes the running ones first.
_slots: queue.LifoQueue[Worker | None] = queue.LifoQueue()


def _empty_slots() -> None:
    global _slots
    _slots = queue.LifoQueue()
    for _ in range(WORKERS):
        _slots.put(None)


_empty_slots()
# A forked child must not talk through its parent's pipes.
os.register_at_fork(after_in_child=_empty_slots)


@lru_cache(maxsize=1 << 16)
def equal(gold: str, answers: tuple[str, ...], timeout_seconds: float) -> tuple[bool, ...] | None:
    """Return whether each answer equals the gold one; None if the answers took longer than the limit.

    All are texts for math-verify, a formula between dollar signs. Raises MathError when the gold answer
    cannot be read or the process failed. Verdicts are remembered: samples of one problem often agree.
    """
    with _worker() as worker:
        deadline = time.monotonic() + timeout_seconds
        alarm_seconds = int(timeout_seconds) + 5
        worker.send({"gold": gold, "answers": answers, "alarm_seconds": alarm_seconds})
        try:
            if not worker.receive(deadline)["gold"]:
                raise MathError("math-verify cannot read the gold answer")
        except TimeoutError:
            raise MathError(f"the gold answer took longer than {timeout_seconds:g} seconds") from None
        try:
            return tuple(worker.receive(deadline)["equal"])
        except TimeoutError:
            return None


@contextlib.contextmanager
def _worker() -> Iterator[Worker]:
    """Lend a worker that is ready; one that owes a reply afterwards is killed, as is one that is worn out."""
    slots = _slots
    worker = slots.get()
    try:
        if worker is None:
            worker = Worker()
            _await_start(worker)
        yield worker
    finally:
        if worker and (worker.pending or worker.requests >= REQUESTS_PER_WORKER):
            worker.kill()
            worker = None
        slots.put(worker)


def _await_start(worker: Worker) -> None:
    try:
        worker.receive(time.monotonic() + START_SECONDS)
    except TimeoutError:
        raise MathError(f"the math-verify process did not start in {START_SECONDS:g} seconds") from None


def close() -> None:
    """End the processes that are idle; they start again when they are needed."""
    idle = []
    with contextlib.suppress(queue.Empty):
        while True:
            idle.append(_slots.get_nowait())
    for worker in idle:
        if worker:
            worker.kill()
        _slots.put(None)


atexit.register(close)
