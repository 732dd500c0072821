"""Landlock: from here on this process opens only what is listed, and signals nothing outside itself."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable

from . import kernel

_VERSION = 1  # flag of landlock_create_ruleset
_PATH_BENEATH = 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
# Rights and scopes by the version that brought them.
_FILE_RIGHTS = {1: (1 << 13) - 1, 2: 1 << 13, 3: 1 << 14, 5: 1 << 15}
_NET_RIGHTS = {4: 0b11}
_SCOPES = {6: 0b11}
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | 1 << 14 | 1 << 15


class _Ruleset(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def version() -> int:
    """Return Landlock's version, 0 where the kernel has none."""
    try:
        return kernel.call("landlock_create_ruleset", None, 0, _VERSION)
    except OSError:
        return 0


def restrict(readable: Iterable[str], writable: Iterable[str]) -> None:
    """Allow opening what lies beneath these paths and nothing else; raises OSError where the kernel cannot.

    Needs no_new_privs. A path that does not exist is left out.
    """
    there = version()
    rights = _sum(_FILE_RIGHTS, there)
    rules = _Ruleset(rights, _sum(_NET_RIGHTS, there), _sum(_SCOPES, there))
    size = 8 if there < 4 else 16 if there < 6 else 24
    ruleset = kernel.call("landlock_create_ruleset", rules, size, 0)
    try:
        for path in readable:
            _allow(ruleset, path, _EXECUTE | _READ_FILE | _READ_DIR)
        for path in writable:
            _allow(ruleset, path, rights)
        kernel.call("landlock_restrict_self", ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        rights &= -1 if os.path.isdir(path) else _OF_FILES
        kernel.call("landlock_add_rule", ruleset, _PATH_BENEATH, _Beneath(rights, parent), 0)
    finally:
        os.close(parent)


def _sum(table: dict[int, int], there: int) -> int:
    return sum(bits for since, bits in table.items() if since <= there)
