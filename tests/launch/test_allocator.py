"""Page faults, as the kernel counts them, of arrays that are made and freed again and again."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import numpy as np
from posttrain.launch.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def step():
    kept = [np.ones(5_000_000) for _ in range(3)]  # 40 MB each: glibc raises its own threshold no further than 32
step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(mode: str, **environ: str) -> int:
    command = [sys.executable, "-c", PROGRAM, mode]
    huge = {"NUMPY_MADVISE_HUGEPAGE": "0"}  # pages of one size
    return int(subprocess.check_output(command, env=os.environ | huge | environ))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator")
def test_what_a_step_frees_the_next_step_uses() -> None:
    left_alone, kept = faults("leave"), faults("keep")
    assert left_alone > 4 * 3 * 40e6 / 2**16  # at least one for each page, whatever its size
    assert kept < left_alone / 20


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator")
def test_what_the_environment_says_stands() -> None:
    assert faults("keep", MALLOC_MMAP_THRESHOLD_="1000000") > faults("keep") * 20
