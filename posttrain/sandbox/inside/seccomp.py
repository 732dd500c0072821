"""A system call filter: one process that may start threads, and reaches nothing outside itself by a call.

What may be opened is Landlock's and the mount namespace's business. Here the calls end that reach beyond files:
sockets, other processes, shared memory that no limit counts, and the corners of the kernel that no program
needs. A filter holds for good and for every thread.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Sequence

from . import kernel

_DENIED = """
accept accept4 bind connect listen socket
execve execveat fork vfork setpgid setsid
kcmp pidfd_getfd pidfd_open pidfd_send_signal process_madvise process_vm_readv process_vm_writev ptrace
rt_sigqueueinfo rt_tgsigqueueinfo tkill
memfd_create memfd_secret mq_open mq_unlink msgctl msgget msgrcv msgsnd semctl semget semop semtimedop
shmat shmctl shmget
chroot fsconfig fsmount fsopen fspick mount mount_setattr move_mount name_to_handle_at open_by_handle_at open_tree
pivot_root setns umount2 unshare
acct add_key adjtimex bpf clock_adjtime clock_settime delete_module fanotify_init finit_module init_module
io_uring_enter io_uring_register io_uring_setup ioperm iopl kexec_file_load kexec_load keyctl modify_ldt
perf_event_open personality quotactl reboot request_key setdomainname sethostname settimeofday swapoff swapon syslog
userfaultfd vhangup
"""
# Allowed to a process for itself alone: the first argument is its own id.
_ONLY_ITSELF = ("kill", "tgkill")

_ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_NR, _ARCH, _FIRST_ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data, little-endian
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL = 0x7FFF0000, 0x80000000
_REFUSE, _NOT_THERE = 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
_X32 = 0x40000000
_CLONE_THREAD = 0x10000
_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _MODE_FILTER = 1, 22, 2


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def restrict() -> None:
    """Put this process under the filter; raises OSError where the kernel cannot. Needs no_new_privs."""
    own_id = os.getpid()
    steps = refusing(_DENIED.split())
    # glibc starts a thread by clone3, whose flags a filter cannot see, and takes clone where there is none.
    steps += [_step(_EQUAL, _known("clone3"), false=1), _step(_RETURN, _NOT_THERE)]
    steps += _for_first_argument("clone", _step(_ANY_BIT, _CLONE_THREAD, true=1))
    steps += _for_first_argument("prlimit64", _step(_EQUAL, 0, true=2), _step(_EQUAL, own_id, true=1))
    # It dies with the process that it was forked from, and cannot wish otherwise.
    steps += _for_first_argument("prctl", _step(_EQUAL, _PR_SET_PDEATHSIG, false=1))
    for name in _ONLY_ITSELF:
        steps += _for_first_argument(name, _step(_EQUAL, own_id, true=1))
    install(steps)


def refusing(names: Sequence[str]) -> list[bytes]:
    """Return the steps of a filter that refuse these calls: pairs of a test and what to return, no jump long."""
    steps = []
    for name in names:
        nr = kernel.number(name)
        if nr is not None:
            steps += [_step(_EQUAL, nr, false=1), _step(_RETURN, _REFUSE)]
    return steps


def install(steps: Sequence[bytes]) -> None:
    """Put this process under a filter of these steps, in BPF, that allows what they let through."""
    if not kernel.KNOWN_MACHINE:
        raise OSError(f"no system call filter for {kernel.MACHINE}")
    beginning = (
        _step(_LOAD, _ARCH),
        _step(_EQUAL, _ARCHITECTURE[kernel.MACHINE], true=1),
        _step(_RETURN, _KILL),
        _step(_LOAD, _NR),
        _step(_AT_LEAST, _X32, false=1),
        _step(_RETURN, _REFUSE),
    )
    code = b"".join((*beginning, *steps, _step(_RETURN, _ALLOW)))
    program = _Program(len(code) // 8, code)
    kernel.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.addressof(program))


def _for_first_argument(name: str, *tests: bytes) -> list[bytes]:
    """Return the steps that refuse a call unless a test of its first argument jumps over the refusal."""
    body = [_step(_LOAD, _FIRST_ARGUMENT), *tests, _step(_RETURN, _REFUSE), _step(_LOAD, _NR)]
    return [_step(_EQUAL, _known(name), false=len(body)), *body]


def _known(name: str) -> int:
    nr = kernel.number(name)
    assert nr is not None, name
    return nr


def _step(code: int, value: int, *, true: int = 0, false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, true, false, value)
