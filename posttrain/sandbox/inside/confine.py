"""The steps by which a forked process gives up everything but its limits, one after the other."""

from __future__ import annotations

import ctypes
import fcntl
import os
import resource
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from . import kernel, landlock, namespaces, seccomp

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_CAPABILITY_VERSION_3 = 0x20080522
_HIGH = 200  # descriptors are moved up here before they come to their places
MAX_TASKS = 64
MAX_FILES = 128


class Layers(NamedTuple):
    """What a process is put under, decided once, before the file system is left behind."""

    namespaces: bool
    landlock: bool
    seccomp: bool
    readable: Sequence[str]
    uid: int
    """The unprivileged user that a process of root becomes; 0: it stays who it is, without capabilities."""
    max_tasks: int
    """RLIMIT_NPROC; 0: not set. It counts the user's threads and processes, and does not bind root."""


def confine(layers: Layers, limits: Mapping[str, int], descriptors: Mapping[int, int], keep: int, tmp: str) -> int:
    """Confine this process, which was just forked; raises OSError when a step fails.

    `descriptors` are {number here: descriptor as it is now}. Of the others only `keep` stays open, at the number
    that is returned. `limits` are cpu_seconds, memory_bytes (of address space), file_bytes. `tmp` is where it may
    write.
    """
    os.setsid()
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    if layers.namespaces:
        namespaces.private_tmp(limits["file_bytes"], layers.readable)
    os.chdir(tmp)
    kept = _place(descriptors, keep)
    _limit(limits, layers.max_tasks)
    _drop_privileges(layers.uid)
    # After the change of user, which undoes both: it dies with who would kill it, and no process looks into it.
    kernel.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    kernel.prctl(_PR_SET_DUMPABLE, 0)
    kernel.prctl(_PR_SET_NO_NEW_PRIVS, 1)
    if layers.landlock:
        landlock.restrict([*layers.readable, *namespaces.DEVICES], [tmp, "/dev/null"])
    if layers.seccomp:
        seccomp.restrict()
    return kept


def unprivileged_user(readable: Sequence[str], *, alone: bool) -> int:
    """Return a user id for the processes of root that nobody else has; 0 if there is none, or if not root.

    `alone`: the readable paths are all there is, so that the directories above them do not matter.
    """
    if os.geteuid() != 0 or not all(_world_readable(path, alone) for path in readable if os.path.exists(path)):
        return 0
    first, _, count = map(int, Path("/proc/self/uid_map").read_text().splitlines()[-1].split())
    last = min(first + count - 1, 2_000_000_000)
    span = min(count - 1, 1 << 22)  # no two processes of the machine have one id
    return last - os.getpid() % span if span else 0


def running_tasks() -> int:
    """Return how many threads the processes of this user have."""
    count = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if process.stat().st_uid == os.geteuid():
                count += len(os.listdir(process / "task"))
        except OSError:
            continue
    return count


def _world_readable(path: str, alone: bool) -> bool:
    real = Path(path).resolve()
    wanted = 0o5 if real.is_dir() else 0o4
    above = () if alone else real.parents
    return real.stat().st_mode & wanted == wanted and all(parent.stat().st_mode & 0o1 for parent in above)


def _place(descriptors: Mapping[int, int], keep: int) -> int:
    high = {here: fcntl.fcntl(now, fcntl.F_DUPFD, _HIGH) for here, now in descriptors.items()}
    kept = fcntl.fcntl(keep, fcntl.F_DUPFD, _HIGH)
    nothing = fcntl.fcntl(os.open("/dev/null", os.O_RDWR), fcntl.F_DUPFD, _HIGH)
    last = max(2, *descriptors) + 1
    for here in range(last):
        os.dup2(high.get(here, nothing), here)
    os.dup2(kept, last, inheritable=False)
    os.closerange(last + 1, 4096)
    return last


def _limit(limits: Mapping[str, int], max_tasks: int) -> None:
    wanted = {
        resource.RLIMIT_AS: limits["memory_bytes"],
        resource.RLIMIT_CPU: limits["cpu_seconds"],
        resource.RLIMIT_FSIZE: limits["file_bytes"],
        resource.RLIMIT_NOFILE: MAX_FILES,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
    }
    if max_tasks:
        wanted[resource.RLIMIT_NPROC] = max_tasks
    for which, value in wanted.items():
        hard = resource.getrlimit(which)[1]
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(which, (bound, bound))
    # Writing past the limit is then an error that a program can see.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)


def _drop_privileges(uid: int) -> None:
    if uid:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    kernel.call("capset", bytes((ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)), bytes((ctypes.c_uint32 * 6)()))
