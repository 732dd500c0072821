"""How many GPUs a process would see, found out without importing torch."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

_DRIVER_GPUS = Path("/proc/driver/nvidia/gpus")
_ASK_TIMEOUT_SECONDS = 30


def visible_gpus(environ: Mapping[str, str]) -> int:
    """Return the number of GPUs that CUDA_VISIBLE_DEVICES leaves visible, of those that are there."""
    chosen = environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None and not chosen_gpus(chosen):
        return 0
    there = _gpus_there(environ)
    return there if chosen is None else min(len(chosen_gpus(chosen)), there)


def chosen_gpus(cuda_visible_devices: str) -> list[str]:
    """Return the devices that a CUDA_VISIBLE_DEVICES names; as in CUDA, -1 ends the list."""
    names = [name.strip() for name in cuda_visible_devices.split(",")]
    end = next((at for at, name in enumerate(names) if name in ("", "-1")), len(names))
    return names[:end]


def _gpus_there(environ: Mapping[str, str]) -> int:
    """Count GPUs by nvidia-smi, which knows what a container was given; without it, by the driver's files.

    A GPU cut into MIG slices counts as its slices.
    """
    program = shutil.which("nvidia-smi", path=environ.get("PATH"))
    if program:
        try:
            asked = subprocess.run(
                [program, "-L"], capture_output=True, text=True, timeout=_ASK_TIMEOUT_SECONDS, check=True
            )
            lines = [line.strip() for line in asked.stdout.splitlines()]
            slices = sum(line.startswith("MIG ") for line in lines)
            return slices or sum(line.startswith("GPU ") for line in lines)
        except (OSError, subprocess.SubprocessError):
            pass
    return len(list(_DRIVER_GPUS.iterdir())) if _DRIVER_GPUS.is_dir() else 0
