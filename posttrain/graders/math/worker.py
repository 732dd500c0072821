"""The process that compares answers, JSON lines in and out. Started by path, with the caller's import path.

It forks one process that answers requests, and forks again when that one dies: a new one is there in milliseconds.
On standard input, one request at a time: {"gold": text, "answer": text or null, "seconds": n}. On standard output:
{"ready": true} whenever a process is ready, {"verdict": ...} or {"error": text} for a request, and {"ended": signal
number or exit status} when the process died of it, by SIGPROF when its processor time was up.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from collections.abc import Iterator
from typing import Any

MEMORY_BYTES = 2 << 30
REQUESTS_PER_PROCESS = 5000
GROWN_BYTES = 512 << 20
"""A process is replaced after so many requests, or when it takes so much more than at first: sympy's caches grow
without end, and at the limit an answer would be called unreadable."""
WORN_OUT = 75


def main() -> None:
    """Keep a process that answers requests until standard input ends. The import path is the only argument."""
    sys.path[:] = json.loads(sys.argv[1])
    # Whatever a library prints must not get between the replies.
    replies = os.dup(1)
    os.dup2(2, 1)
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = MEMORY_BYTES if hard == resource.RLIM_INFINITY else min(MEMORY_BYTES, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    verdict("\\frac{1}{2}\\pi", "\\pi/2")  # imports what a verdict needs
    first = True
    while True:
        if (process := os.fork()) == 0:
            answer_requests(replies, ready=first)
            os._exit(0)
        first = False
        _, status = os.waitpid(process, 0)
        code = os.waitstatus_to_exitcode(status)
        if code == 0:
            return
        if code != WORN_OUT:
            _send(replies, {"ended": abs(code)})
            first = True


def answer_requests(replies: int, ready: bool) -> None:
    """Answer requests until standard input ends, or exit when worn out."""
    if ready:
        _send(replies, {"ready": True})
    began = _resident_bytes()
    for count, request in enumerate(_requests(), start=1):
        # Left at its default the signal ends the process wherever it is, in big-integer arithmetic too.
        signal.setitimer(signal.ITIMER_PROF, request["seconds"])
        try:
            reply = {"verdict": verdict(request["gold"], request["answer"])}
        except (MemoryError, RecursionError, OverflowError):
            reply = {"verdict": "unreadable"}
        except Exception as error:
            reply = {"error": f"{type(error).__name__}: {error}"[:200]}
        signal.setitimer(signal.ITIMER_PROF, 0)
        _send(replies, reply)
        if count == REQUESTS_PER_PROCESS or _resident_bytes() > began + GROWN_BYTES:
            os._exit(WORN_OUT)


def verdict(gold: str, answer: str | None) -> str:
    """Return "equal", "different" or "unreadable"; without an answer, whether the gold can be read."""
    from posttrain.graders.math import equality, fallback
    from posttrain.graders.math.expression import Unreadable

    equal: bool | None
    try:
        equal = equality.equal(gold, answer) if answer else equality.readable(gold) or None
    except Unreadable:
        equal = fallback.equal(gold, answer) if answer else fallback.readable(gold) or None
    return "unreadable" if equal is None else "equal" if equal else "different"


def _resident_bytes() -> int:
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except OSError:
        return 0


def _requests() -> Iterator[Any]:
    # Unbuffered: what this process has not read yet is for the one that follows it.
    received = b""
    while data := os.read(0, 65536):
        received += data
        if received.endswith(b"\n"):
            yield json.loads(received)
            received = b""


def _send(replies: int, message: dict[str, Any]) -> None:
    os.write(replies, json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    main()
