"""The memory allocator on a processor: what a step frees, the next step uses."""

from __future__ import annotations

import ctypes
import os

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # mallopt(3)
_LARGEST = 2**30


def keep_freed_memory() -> None:
    """Have glibc keep what is freed, up to blocks of 1 GiB, instead of giving it back.

    Left alone it maps each large tensor anew, and the kernel clears every page of it at each step. Other C libraries
    are left as they are, and so is an allocator that the environment has set (MALLOC_…_THRESHOLD_).
    """
    if any(name in os.environ for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGEST)
        mallopt(_TRIM_THRESHOLD, 2 * _LARGEST - 1)
