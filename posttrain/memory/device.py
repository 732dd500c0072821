"""How much memory there is to be had: a GPU's, or the machine's, within the limits of its control groups."""

from __future__ import annotations

from dataclasses import dataclass

from posttrain.limits import main_memory


@dataclass(frozen=True)
class Device:
    """A device's memory in bytes: `free` for one process, of `total`. `host` is the main memory that is free."""

    name: str
    free: int
    total: int
    host: int
    is_gpu: bool


def this_device(ranks_here: int = 1) -> Device:
    """The device that this process would train on; the processes of a machine without a GPU share its memory.

    On a GPU memory counts as free that this process has set aside and does not use.
    """
    import torch

    host, all_of_it = main_memory()
    if not torch.cuda.is_available():
        return Device("main memory", host // ranks_here, all_of_it // ranks_here, host, is_gpu=False)
    free, total = torch.cuda.mem_get_info()
    free += torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    return Device(torch.cuda.get_device_name(), free, total, host // ranks_here, is_gpu=True)


def gpu_of(size: int, name: str) -> Device:
    """A GPU of `size` bytes that need not be here, beside the main memory that is."""
    return Device(f"a GPU of {name}", size, size, main_memory()[0], is_gpu=True)
