"""The process from which the sandbox's processes are forked. It runs nobody's code, and holds nobody's data.

A request comes with file descriptors: the zygote forks a process for each role, gives it its descriptors, and
confines it. What is to be run, what is to be tested and what came out are in the files behind the descriptors,
so that a process that reads its whole memory finds nothing of what another one was given.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, NoReturn

from . import confine, kernel, landlock, namespaces, probe, program, script, source, tests
from .group import Group

ROLES: dict[str, Callable[[], None]] = {
    "program": program.main,
    "script": script.main,
    "source": source.main,
    "tests": tests.main,
    "probe": probe.main,
}
MAX_DESCRIPTORS = 16
_PR_SET_CHILD_SUBREAPER = 36
_LIBRARIES = ("/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libx32", "/usr/local/lib", "/lib", "/lib64")
_SYSTEM_FILES = ("/etc/ld.so.cache", "/etc/localtime", "/usr/share/zoneinfo")
# Imported once here rather than in every process.
_WARM = """
array base64 bisect cmath collections contextlib copy csv datetime decimal enum fractions functools hashlib heapq
inspect io itertools json math numbers operator queue random re statistics string textwrap threading time traceback
types typing unittest
"""


class Zygote:
    """The state of one zygote: how it confines, and what its processes are forked with."""

    def __init__(self, configuration: Mapping[str, Any]) -> None:
        isolation, directory = configuration["isolation"], configuration["directory"]
        sys.path[:] = [*(path for path in sys.path[1:] if os.path.exists(path)), *configuration["packages"]]
        readable = [*sys.path, *_LIBRARIES, f"{sys.base_prefix}/lib", *_SYSTEM_FILES]
        inside = isolation == "namespaces"
        uid = confine.unprivileged_user(readable, alone=inside)
        tasks = {"namespaces": confine.MAX_TASKS, "landlock": 0}.get(isolation)
        if tasks is None:
            tasks = confine.MAX_TASKS if uid else confine.running_tasks() + confine.MAX_TASKS
        self.layers = confine.Layers(
            namespaces=inside,
            landlock=isolation == "landlock" or (inside and landlock.version() > 0),
            seccomp=isolation != "limits",
            readable=readable,
            uid=uid,
            max_tasks=tasks,
        )
        if inside:
            self._here, self._size = namespaces.enter(directory, [*readable, *namespaces.DEVICES])
        else:
            self._here, self._size = -1, os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
        self._directory = directory
        for name in (*_WARM.split(), *configuration["preload"]):
            # One that cannot be imported here raises where the source imports it, and is reported there.
            with contextlib.suppress(Exception):
                import_module(name)
        # SIGCHLD is waited for; orphans come to this process, which kills them.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
        kernel.prctl(_PR_SET_CHILD_SUBREAPER, 1)
        gc.freeze()

    def run(self, request: Mapping[str, Any], descriptors: Sequence[int], control: socket.socket) -> dict[str, Any]:
        """Run the request's processes until the first of them ends, or its time does, and the others are killed.

        Returns {"why": exited, timed out or too many files, "statuses": exit codes (negative: a signal), "seconds":
        each one's processor time}, or {"failed": why} if a process could not be confined.
        """
        deadline = time.monotonic() + request["wall_seconds"]
        limits = {**request["limits"], "memory_bytes": request["limits"]["memory_bytes"] + self._own_bytes()}
        group = Group(self.layers, limits, self._fork, self._directory)
        try:
            for wanted in request["processes"]:
                placed = {int(here): descriptors[number] for here, number in wanted["descriptors"].items()}
                group.start(ROLES[wanted["role"]], placed)
            _close_all(descriptors)
            descriptors = ()
            why = group.wait(deadline, control)
        except OSError as error:
            return {"failed": str(error)}
        finally:
            group.end()
            _close_all(descriptors)
        return {"why": why, "statuses": group.statuses, "seconds": group.seconds}

    def _fork(self) -> int:
        return namespaces.fork_in_new_pid_namespace(self._here) if self.layers.namespaces else os.fork()

    def _own_bytes(self) -> int:
        """Return the size of this process's address space, which its children begin with."""
        return int(os.pread(self._size, 100, 0).split()[0]) * os.sysconf("SC_PAGE_SIZE")


def main(configuration: str) -> NoReturn:
    """Serve requests until the other end closes. The configuration is JSON: see `Zygote`.

    First comes one reply, {"ready": the layers in words} or {"failed": why}; then one for each request.
    """
    settings = json.loads(configuration)
    control = socket.socket(fileno=settings["control"])
    try:
        zygote = Zygote(settings)
    except OSError as error:
        control.send(json.dumps({"failed": str(error)}).encode())
        os._exit(1)
    control.send(json.dumps({"ready": words(zygote.layers)}).encode())
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 1 << 16, MAX_DESCRIPTORS)
        if not message:
            os._exit(0)
        control.send(json.dumps(zygote.run(json.loads(message), descriptors, control)).encode())


def words(layers: confine.Layers) -> str:
    """Return the layers as people read them."""
    there = {"namespaces": layers.namespaces, "Landlock": layers.landlock, "seccomp": layers.seccomp}
    return " + ".join(name for name, has in there.items() if has) or "limits only: NOT a sandbox"


def _close_all(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
