"""Namespaces: no network, no other processes, and a root directory that holds what Python needs and no more."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Sequence
from pathlib import Path

from . import kernel

_NEWNS, _NEWUTS, _NEWIPC, _NEWUSER, _NEWPID, _NEWNET = (
    0x00020000,
    0x04000000,
    0x08000000,
    0x10000000,
    0x20000000,
    0x40000000,
)
_MS_NOSUID, _MS_NODEV, _MS_BIND, _MS_REC, _MS_PRIVATE = 2, 4, 4096, 16384, 1 << 18
_MNT_DETACH = 2
_RDONLY, _NOSUID, _NODEV = 1, 2, 4  # mount_setattr's attributes
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_PR_SET_PDEATHSIG = 1
_OPEN_TREE_CLONE, _MOVE_MOUNT_F_EMPTY_PATH = 1, 4

DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")


class _MountAttributes(ctypes.Structure):
    _fields_ = (
        ("set", ctypes.c_uint64),
        ("clear", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns", ctypes.c_uint64),
    )


def enter(root: str, readable: Sequence[str]) -> tuple[int, int]:
    """Go on in a child process within namespaces of its own, whose file system holds the readable paths read-only.

    `root` is an empty directory to build on. The calling process waits for that child and ends with it. Returns
    descriptors of the child's pid namespace and of its /proc/self/statm, which it could not open later; raises
    OSError where the kernel refuses.
    """
    uid, gid = os.getuid(), os.getgid()
    privileged = os.geteuid() == 0
    flags = _NEWNS | _NEWUTS | _NEWIPC | _NEWPID | _NEWNET
    kernel.call("unshare", flags if privileged else flags | _NEWUSER)
    if not privileged:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    child = os.fork()
    if child:
        _end_with(child)
    kernel.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    here, size = (os.open(f"/proc/self/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in ("ns/pid", "statm"))
    _mount(None, "/", None, _MS_REC | _MS_PRIVATE)
    _mount("tmpfs", root, "tmpfs", _MS_NOSUID | _MS_NODEV, "size=16m,mode=755")
    for place, source in _places(readable):
        _show(source, root + place, read_only=place not in DEVICES)
    Path(root, "tmp").mkdir(exist_ok=True)
    # No /proc: it would show the interpreter's memory, and mounting it is what containers forbid.
    _read_only(root, recursive=False)
    os.chdir(root)
    kernel.call("pivot_root", b".", b".")
    kernel.call("umount2", b".", _MNT_DETACH)
    os.chdir("/")
    return here, size


def fork_in_new_pid_namespace(here: int) -> int:
    """Fork; the child is the first process of a namespace below `here`, and all of that die with it."""
    kernel.call("unshare", _NEWPID)
    try:
        child = os.fork()
    except OSError:
        kernel.call("setns", here, _NEWPID)
        raise
    if child:
        kernel.call("setns", here, _NEWPID)
    return child


def private_tmp(size_bytes: int, readable: Sequence[str]) -> None:
    """Give this process a /tmp that no other sees and that holds at most so much, beside what is readable there: an
    environment of packages may lie in /tmp."""
    kernel.call("unshare", _NEWNS | _NEWIPC)
    covered = [place for place, _ in _places(readable) if place.startswith("/tmp/")]
    trees = [(place, os.path.isdir(place), _detached(place)) for place in covered]
    _mount("tmpfs", "/tmp", "tmpfs", _MS_NOSUID | _MS_NODEV, f"size={size_bytes},nr_inodes=4096,mode=1777")
    for place, is_directory, tree in trees:
        Path(place).parent.mkdir(parents=True, exist_ok=True)
        Path(place).mkdir(exist_ok=True) if is_directory else Path(place).touch()
        kernel.call("move_mount", tree, b"", _AT_FDCWD, place.encode(), _MOVE_MOUNT_F_EMPTY_PATH)
        os.close(tree)


def _detached(place: str) -> int:
    """Return a descriptor of what is mounted there, which can be put in another place once it is covered."""
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | _AT_RECURSIVE
    return kernel.call("open_tree", _AT_FDCWD, place.encode(), flags)


def _end_with(child: int) -> None:
    _, status = os.waitpid(child, 0)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def _places(readable: Sequence[str]) -> list[tuple[str, str]]:
    """Return (place, what is there) for every path that exists, as it is written and where its links lead to.

    What lies beneath another of them is left out.
    """
    places: list[tuple[str, str]] = []
    for path in sorted({*readable, *map(os.path.realpath, readable)}):
        beneath = any(path.startswith(f"{place}/") for place, _ in places)
        if os.path.exists(path) and not beneath:
            places.append((path, os.path.realpath(path)))
    return places


def _show(source: str, target: str, *, read_only: bool) -> None:
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    if os.path.isdir(source):
        Path(target).mkdir(exist_ok=True)
    else:
        Path(target).touch()
    _mount(source, target, None, _MS_BIND | _MS_REC)
    if read_only:
        _read_only(target)


def _read_only(target: str, *, recursive: bool = True) -> None:
    attributes = _MountAttributes(set=_RDONLY | _NOSUID | _NODEV)
    flags = _AT_RECURSIVE if recursive else 0
    kernel.call("mount_setattr", _AT_FDCWD, target.encode(), flags, attributes, ctypes.sizeof(attributes))


def _mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    texts = [None if text is None else os.fsencode(text) for text in (source, target, kind, data)]
    try:
        kernel.call("mount", texts[0], texts[1], texts[2], flags, texts[3])
    except OSError as error:
        raise OSError(error.errno, f"mount {source or ''} on {target}: {os.strerror(error.errno or 0)}") from None
