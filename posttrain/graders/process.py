"""A process that answers one JSON line with another, can be watched while it works, and can be stopped at any time."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Any

POLL_SECONDS = 0.1
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Gone(Exception):
    """The process has ended; the message says how."""


class LineProcess:
    """One process, used by one thread at a time. What it writes to standard error is dropped unless `audible`."""

    def __init__(self, argv: Sequence[str], *, audible: bool = False) -> None:
        self._received = b""
        self._process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if audible else subprocess.DEVNULL,
            # A group of its own: `kill` ends what it forked too, and a Ctrl-C is for the run, which still has
            # completions to grade.
            start_new_session=True,
        )

    def send(self, request: Any) -> None:
        """Send a request; raises Gone."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request, default=str).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise Gone(self._how()) from None

    def receive(self, deadline: float, watch: Callable[[], object] = lambda: None) -> dict[str, Any]:
        """Return the next message; raises TimeoutError at `deadline` (time.monotonic), and Gone.

        `watch` is called several times a second until then, and what it raises ends the waiting.
        """
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._received:
                left = deadline - time.monotonic()
                if not selector.select(max(0.0, min(left, POLL_SECONDS))):
                    if left <= 0:
                        raise TimeoutError
                    watch()
                    continue
                data = os.read(self._process.stdout.fileno(), 65536)
                if not data:
                    raise Gone(self._how())
                self._received += data
        line, _, self._received = self._received.partition(b"\n")
        return json.loads(line)

    def resident_bytes(self) -> int:
        """Return the main memory that the process has now; 0 where the system does not say."""
        try:
            with open(f"/proc/{self._process.pid}/statm", encoding="ascii") as file:
                return int(file.read().split()[1]) * _PAGE
        except (OSError, IndexError):
            return 0

    def kill(self) -> None:
        """End the process and what it forked, whatever they are doing."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def _how(self) -> str:
        code = self._process.wait()
        return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
