"""A few processes that compare mathematical answers; each can be stopped at any time.

An alarm works only in a main thread and never inside big-integer arithmetic, so one sample like 9^{9^{9^9}} could stop
a training run. Here the system ends a process that used up its processor time, and the caller keeps a clock besides.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from posttrain.graders.process import Gone, LineProcess

Verdict = Literal["equal", "different", "unreadable", "timed out"]

WORKERS = max(1, min(4, os.cpu_count() or 1))
SCRIPT = Path(__file__).with_name("worker.py")
START_SECONDS = 120.0
WALL_FACTOR = 10
"""A comparison may take so many times its processor time on the clock before it is an error: the machine is busy."""


class MathError(Exception):
    """The comparison could not be made, for a reason that is not the answer's."""


# One slot a worker; an empty one is filled when it is taken. Last in, first out takes the running ones first.
_slots: queue.LifoQueue[LineProcess | None] = queue.LifoQueue()
# Held while a thread waits for a slot, so that one which has just given its slot back cannot be before it again.
_turn = threading.Lock()


def _empty_slots() -> None:
    global _slots, _turn
    _slots, _turn = queue.LifoQueue(), threading.Lock()
    for _ in range(WORKERS):
        _slots.put(None)


_empty_slots()
# A forked child must not talk through its parent's pipes.
os.register_at_fork(after_in_child=_empty_slots)


@lru_cache(maxsize=1 << 16)
def compare(gold: str, answer: str | None, seconds: float) -> Verdict:
    """Return the verdict on an answer; without one, "equal" or "unreadable" says whether the gold can be read.

    `seconds` limits the processor time. A process that died is replaced and asked once more; raises MathError when
    it died again. Verdicts are remembered: samples of one problem often agree.
    """
    request = {"gold": gold, "answer": answer, "seconds": seconds}
    try:
        return _asked(request, seconds)
    except MathError:
        return _asked(request, seconds)


def _asked(request: dict[str, Any], seconds: float) -> Verdict:
    with _worker() as worker:
        try:
            worker.send(request)
            reply = worker.receive(time.monotonic() + WALL_FACTOR * seconds + 5)
            if "ended" in reply:
                worker.receive(time.monotonic() + START_SECONDS)  # the next process is ready
        except Gone as error:
            raise MathError(f"the process that compares answers {error}") from None
        except TimeoutError:
            raise MathError(f"no verdict in {WALL_FACTOR * seconds + 5:g} seconds") from None
    if "verdict" in reply:
        return reply["verdict"]
    if reply.get("ended") == signal.SIGPROF:
        return "timed out"
    raise MathError(f"the process that compares answers failed ({reply.get('error') or reply.get('ended')})")


@contextlib.contextmanager
def _worker() -> Iterator[LineProcess]:
    """Lend a worker that is ready; one that failed is killed."""
    slots = _slots
    with _turn:
        worker = slots.get()
    try:
        if worker is None:
            worker = LineProcess([sys.executable, "-I", str(SCRIPT), json.dumps(sys.path)])
            _await_start(worker)
        yield worker
    except BaseException:
        if worker:
            worker.kill()
        worker = None
        raise
    finally:
        slots.put(worker)


def _await_start(worker: LineProcess) -> None:
    try:
        worker.receive(time.monotonic() + START_SECONDS)
    except Gone as error:
        raise MathError(f"the process that compares answers {error}") from None
    except TimeoutError:
        raise MathError(f"the process that compares answers did not start in {START_SECONDS:g} seconds") from None


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
