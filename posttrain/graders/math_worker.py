"""The process that runs math-verify, JSON lines in and out. Started by path, so it imports no posttrain.

On standard input, one request a line: {"gold": text, "answers": [text, ...], "alarm_seconds": n}. On standard
output, first {"ready": true}, then two lines a request: {"gold": whether the gold can be read} and {"equal":
[whether each answer equals the gold]}.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from functools import lru_cache
from typing import Any

MEMORY_BYTES = 2 << 30


def main() -> None:
    """Answer requests until standard input ends. The caller's import path is the only argument."""
    sys.path[:] = json.loads(sys.argv[1])
    # Whatever a library prints must not get between the replies.
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = MEMORY_BYTES if hard == resource.RLIM_INFINITY else min(MEMORY_BYTES, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    parsed("$1$")

    def reply(message: dict[str, Any]) -> None:
        print(json.dumps(message), file=replies, flush=True)

    reply({"ready": True})
    for line in sys.stdin:
        request = json.loads(line)
        # Left at its default the alarm ends the process wherever it hangs, also when the caller is gone.
        signal.alarm(request["alarm_seconds"])
        reply({"gold": readable(request["gold"])})
        reply({"equal": [equal(request["gold"], answer) for answer in request["answers"]]})
        signal.alarm(0)


@lru_cache(maxsize=256)
def parsed(text: str) -> list[Any]:
    """Return math-verify's readings of a text that holds one formula or sentence; empty if there is none.

    math-verify's own time limits are off: they need the main thread, and cannot stop big-integer arithmetic.
    """
    from math_verify import parse

    return parse(text, parsing_timeout=None)


@lru_cache(maxsize=256)
def readable(gold: str) -> bool:
    """Return whether the gold can be parsed and equals itself."""
    # Two equal texts are not evaluated: only another answer finds a gold like 9^{9^9}, which never ends.
    equal(gold, "$0$")
    return bool(parsed(gold)) and equal(gold, gold)


def equal(gold: str, answer: str) -> bool:
    """Return whether an answer equals the gold. The order matters: math-verify is not symmetric."""
    from math_verify import verify

    return verify(parsed(gold), parsed(answer), timeout_seconds=None)


if __name__ == "__main__":
    main()
