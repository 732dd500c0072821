"""This side of a zygote (`inside/zygote.py`): start it, ask it to run confined processes, end it."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

Isolation = Literal["namespaces", "landlock", "limits"]

START_SECONDS = 120.0
WALL_FACTOR = 3.0
"""A busy machine must not fail a program that is fast enough."""
GRACE_SECONDS = 10.0
"""A zygote keeps the time itself; one that is later than this is ended."""
# Hashes are the same in every process, so that a program that depends on the order of a set gets one verdict.
ENVIRONMENT = {"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


class SandboxError(Exception):
    """The sandbox itself failed: nothing is known about what was to run in it."""


class Limits(NamedTuple):
    """What the processes of one run may use."""

    seconds: float
    """Of processor time for each process, counted in whole seconds; three times as much by the clock for all."""
    memory_bytes: int = 1 << 30
    """Of address space, in each process, beside what Python and preloaded packages take."""
    file_bytes: int = 16 << 20
    """Largest file, and the size of the directory for temporary files."""


class Process(NamedTuple):
    """One process to run: its role, and {descriptor there: descriptor here}."""

    role: str
    descriptors: Mapping[int, int]


class Ended(NamedTuple):
    """How a run ended. Exit codes are negative for a signal; seconds are each process's processor time."""

    why: Literal["exited", "timed out", "too many files"]
    statuses: Sequence[int]
    seconds: Sequence[float]


class Configuration(NamedTuple):
    """What distinguishes zygotes: how they isolate, where packages are, which modules are imported beforehand."""

    isolation: Isolation
    packages: tuple[str, ...] = ()
    preload: tuple[str, ...] = ()


class Zygote:
    """One zygote, used by one thread at a time."""

    def __init__(self, configuration: Configuration) -> None:
        self._directory = tempfile.mkdtemp(prefix="posttrain-sandbox-")
        if os.geteuid() == 0:
            os.chmod(self._directory, 0o711)  # its processes have another user
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        settings = {**configuration._asdict(), "directory": self._directory, "control": theirs.fileno()}
        self._process = subprocess.Popen(
            [sys.executable, "-S", "-s", str(Path(__file__).with_name("inside")), json.dumps(settings)],
            env=ENVIRONMENT,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
        theirs.close()
        try:
            self.layers: str = self._receive(START_SECONDS)["ready"]
        except SandboxError:
            self.end()
            raise

    def run(self, processes: Sequence[Process], limits: Limits, pipes: Sequence[int] = ()) -> Ended:
        """Run the processes until the first ends or the time is over; raises SandboxError.

        The descriptors of `pipes` are closed here when the processes have them: the other end of a process that is
        gone must read as ended.
        """
        wall_seconds = WALL_FACTOR * limits.seconds
        descriptors = [here for process in processes for here in process.descriptors.values()]
        numbers = iter(range(len(descriptors)))
        request = {
            "processes": [
                {"role": process.role, "descriptors": {there: next(numbers) for there in process.descriptors}}
                for process in processes
            ],
            "wall_seconds": wall_seconds,
            "limits": {
                "cpu_seconds": math.ceil(limits.seconds),
                "memory_bytes": limits.memory_bytes,
                "file_bytes": limits.file_bytes,
            },
        }
        try:
            socket.send_fds(self._control, [json.dumps(request).encode()], descriptors)
        except OSError as error:
            raise SandboxError(f"the sandbox is gone: {error}") from None
        finally:
            for descriptor in pipes:
                os.close(descriptor)
        reply = self._receive(wall_seconds + GRACE_SECONDS)
        # The kernel counts ticks, so that the process it ended has used a little less.
        used_up = max(reply["seconds"]) > math.ceil(limits.seconds) - 0.1
        return Ended("timed out" if used_up else reply["why"], reply["statuses"], reply["seconds"])

    def end(self) -> None:
        """End the zygote and everything that it started."""
        self._control.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _receive(self, seconds: float) -> dict[str, Any]:
        self._control.settimeout(seconds)
        try:
            message = self._control.recv(1 << 16)
        except TimeoutError:
            raise SandboxError(f"the sandbox did not answer in {seconds:g} seconds") from None
        except OSError as error:
            raise SandboxError(f"the sandbox is gone: {error}") from None
        if not message:
            raise SandboxError("the sandbox is gone")
        reply = json.loads(message)
        if "failed" in reply:
            raise SandboxError(reply["failed"])
        return reply


@contextlib.contextmanager
def memory_file(data: bytes = b"") -> Iterator[int]:
    """Lend a descriptor of a file in memory that holds the data."""
    descriptor = os.memfd_create("posttrain", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(data)
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)


def contents(descriptor: int, limit: int = 1 << 30) -> bytes:
    """Return what a file in memory holds now, at most `limit` bytes of it."""
    return os.pread(descriptor, min(limit, os.fstat(descriptor).st_size), 0)
