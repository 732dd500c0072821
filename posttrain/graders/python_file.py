"""A trusted grader file, run in a process of its own: one that crashes, hangs or grows takes nothing with it.

The process is kept from grade to grade, and so is what the file loads when it starts. It is replaced when it has grown,
between two grades, so that a grader that leaks is right to the end.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import sys
import threading
import time
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from posttrain.errors import UserError
from posttrain.graders.grade import Grade, failure
from posttrain.graders.process import Gone, LineProcess
from posttrain.limits import main_memory

SCRIPT = Path(__file__).with_name("python_worker.py")
START_SECONDS = 600.0
"""A file may load a model when it starts."""


class _TooLarge(Exception):
    pass


class GraderFile:
    """A function of a grader file. Any number of threads may ask it; they are answered one after the other."""

    def __init__(self, path: Path, function: str, pass_threshold: float) -> None:
        self._path = path
        self._settings = {"file": str(path), "function": function, "pass_threshold": pass_threshold}
        self._digest = ""
        self._lock = threading.Lock()
        self._process: LineProcess | None = None
        self._owner = 0  # a forked child must not talk through its parent's pipes
        self._began = self._room = 0  # bytes that the process began with, and that it may have beside them

    def start(self) -> None:
        """Have the process running; raises UserError when the file, or its function, cannot be used."""
        with self._lock:
            try:
                self._running()
            except (Gone, TimeoutError) as error:
                said = str(error) or f"did not start in {START_SECONDS:g} s"
                raise UserError(f"the grader file cannot be run: its process {said}", where=str(self._path)) from None

    def grade(self, completion: str, problem: Mapping[str, Any], seconds: float, memory_bytes: int) -> Grade:
        """Return the function's grade. A process that dies is replaced and asked once more; one that takes longer than
        `seconds`, or more than `memory_bytes` beside what it began with, is ended, and the grade an error."""
        with self._lock:
            said = ""
            for _ in range(2):
                try:
                    return self._asked(completion, problem, seconds, memory_bytes)
                except TimeoutError:
                    self._end()
                    return failure("python_grader_runtime_error", f"took longer than {seconds:g} s ({self._path})")
                except _TooLarge as error:
                    self._end()
                    return failure("python_grader_runtime_error", f"{error} ({self._path})")
                except UserError as error:
                    return failure("python_grader_server_error", str(error))
                except Gone as error:
                    self._end()
                    said = f"its process {error}, twice ({self._path})"
            return failure("python_grader_server_error", said)

    def close(self) -> None:
        """End the process; it starts again when it is needed."""
        with self._lock:
            self._end()

    def _asked(self, completion: str, problem: Mapping[str, Any], seconds: float, memory_bytes: int) -> Grade:
        process = self._running()
        most = min(memory_bytes, self._room)

        def watch() -> None:
            if process.resident_bytes() - self._began > most:
                raise _TooLarge(f"took more than {most / 1e9:.1f} GB")

        process.send({"completion": completion, "problem": dict(problem)})
        reply = process.receive(time.monotonic() + seconds, watch)
        if process.resident_bytes() - self._began > most / 2:
            self._end()
        return Grade(*reply["grade"])

    def _running(self) -> LineProcess:
        if self._process is not None and self._owner == os.getpid():
            return self._process
        digest = hashlib.sha256(self._path.read_bytes()).hexdigest() if self._path.is_file() else "none"
        if self._digest and digest != self._digest:
            raise UserError("the grader file has changed since it was first run", where=str(self._path))
        argument = json.dumps({**self._settings, "import_path": sys.path})
        process = LineProcess([sys.executable, "-I", str(SCRIPT), argument], audible=True)
        try:
            reply = process.receive(time.monotonic() + START_SECONDS)
        except BaseException:
            process.kill()
            raise
        if "refused" in reply:
            process.kill()
            message, where, fix = reply["refused"]
            raise UserError(message, where=where, fix=fix)
        self._process, self._owner, self._digest = process, os.getpid(), digest
        self._began, self._room = process.resident_bytes(), main_memory()[0] // 2
        return process

    def _end(self) -> None:
        if self._process is not None and self._owner == os.getpid():
            self._process.kill()
        self._process = None


@lru_cache(maxsize=64)
def grader_file(path: Path, function: str, pass_threshold: float, written: int) -> GraderFile:
    """Return the process's one of this file; `written` is when the file was last written, in nanoseconds."""
    found = GraderFile(path, function, pass_threshold)
    atexit.register(found.close)
    return found
