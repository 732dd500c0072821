"""The processes of one request: started, waited for, and killed to the last of their descendants."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn

from . import confine

POLL_SECONDS = 0.1
MAX_FILES_WRITTEN = 4096


class Group:
    """Processes that end together, when the first of them does."""

    def __init__(
        self, layers: confine.Layers, limits: Mapping[str, int], fork: Callable[[], int], directory: str
    ) -> None:
        self.statuses: list[int | None] = []
        self.seconds: list[float] = []
        self._layers = layers
        self._limits = limits
        self._fork = fork
        self._directory = directory
        self._directories: list[str] = []
        self._started: list[int] = []
        self._running: dict[int, int] = {}

    def start(self, role: Callable[[], None], descriptors: Mapping[int, int]) -> None:
        """Fork a process, confine it, and let it play its role; raises OSError if it cannot be confined."""
        tmp = "/tmp" if self._layers.namespaces else self._new_directory()
        reader, writer = os.pipe()
        child = self._fork()
        if child == 0:
            self._become(role, descriptors, writer, tmp)
        os.close(writer)
        self._running[child] = len(self.statuses)
        self._started.append(child)
        self.statuses.append(None)
        self.seconds.append(0.0)
        with open(reader, "rb") as report:
            if failure := report.read().decode():
                raise OSError(failure)

    def wait(self, deadline: float, control: socket.socket) -> str:
        """Return why it is over: exited, timed out (at `deadline`, time.monotonic) or too many files.

        Ends this process, and by that the others, when nobody is at the other end of `control` any more.
        """
        while True:
            for child in list(self._running):
                self._reap(child, os.WNOHANG)
            if self.statuses[0] is not None:
                return "exited"
            left = deadline - time.monotonic()
            if left <= 0:
                return "timed out"
            if any(_holds_more(directory, self._limits["file_bytes"]) for directory in self._directories):
                return "too many files"
            signal.sigtimedwait([signal.SIGCHLD], min(left, POLL_SECONDS))
            with contextlib.suppress(BlockingIOError):
                if not control.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
                    os._exit(0)

    def end(self) -> None:
        """Kill what runs, and what it started, and remove what it wrote."""
        for child in self._started:
            # Its session too, at one stroke; a process is in one of its own as soon as it is confined.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
        for child in list(self._running):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            self._reap(child, 0)
        if not self._layers.seccomp:
            _kill_orphans()
        for directory in self._directories:
            shutil.rmtree(directory, ignore_errors=True)

    def _become(self, role: Callable[[], None], descriptors: Mapping[int, int], report: int, tmp: str) -> NoReturn:
        try:
            report = confine.confine(self._layers, self._limits, descriptors, report, tmp)
        except BaseException as error:
            os.write(report, str(error).encode())
            os._exit(1)
        os.close(report)
        status = 1
        try:
            role()
            status = 0
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else int(error.code is not None)
        finally:
            os._exit(status & 0xFF)

    def _reap(self, child: int, flags: int) -> None:
        found, status, usage = os.wait4(child, flags)
        if found:
            index = self._running.pop(child)
            self.statuses[index] = os.waitstatus_to_exitcode(status)
            self.seconds[index] = usage.ru_utime + usage.ru_stime

    def _new_directory(self) -> str:
        directory = tempfile.mkdtemp(dir=self._directory)
        self._directories.append(directory)
        if self._layers.uid:
            os.chown(directory, self._layers.uid, self._layers.uid)
        return directory


def _kill_orphans() -> None:
    """Kill what the processes left behind, until nothing is left: each round may find new ones."""
    own = Path(f"/proc/self/task/{os.getpid()}/children")
    while True:
        for child in map(int, own.read_text().split()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _holds_more(directory: str, limit: int) -> bool:
    """Tell whether a directory holds more than its processes may write in all.

    It is read entry by entry: a list of what is being added to might never end.
    """
    size = files = 0
    folders = [directory]
    while folders:
        with contextlib.suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                files += 1
                size += entry.stat(follow_symlinks=False).st_blocks * 512
                if size > limit or files > MAX_FILES_WRITTEN:
                    return True
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
    return False
