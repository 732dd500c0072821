"""Role `probe`: tries to get out, and reports what it got.

Descriptors: 3 the job {"file": a file that must not be readable, "folder": one that must not be writable, "port": of
a listening server on 127.0.0.1, "process": an id that must not be reachable, "environment": all that there may be},
4 the report: what succeeded.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from typing import Any

from .texts import read_all, write_all


def main() -> None:
    """Try each of them; write the names of those that succeeded."""
    job = json.loads(read_all(3))
    attempts: dict[str, Callable[[], Any]] = {
        "read a file": lambda: open(job["file"]).close(),
        "write a file": lambda: open(os.path.join(job["folder"], "written"), "w").close(),
        "connect to 127.0.0.1": lambda: socket.create_connection(("127.0.0.1", job["port"]), timeout=1).close(),
        "start a process": _fork,
        "signal another process": lambda: os.kill(job["process"], 0),
    }
    succeeded = [name for name, attempt in attempts.items() if _succeeds(attempt)]
    if dict(os.environ) != job["environment"]:
        succeeded.append("read the environment")
    import colorsys  # noqa: F401  # the standard library is there

    write_all(4, json.dumps(succeeded).encode())


def _succeeds(attempt: Callable[[], Any]) -> bool:
    try:
        attempt()
    except OSError:
        return False
    return True


def _fork() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
