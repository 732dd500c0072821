"""How fast this machine multiplies: half a second of matrix products of the model's own shapes."""

from __future__ import annotations

import time
from dataclasses import dataclass

from posttrain.advice.size import Size
from posttrain.memory.device import this_device

PROBE_SECONDS = 0.5


@dataclass(frozen=True)
class Machine:
    """A device by name, its memory in bytes, the dtype it computes in, and its measured rate (FLOP a second)."""

    name: str
    memory: int
    dtype: str
    rate: float
    is_gpu: bool


def measure(size: Size, tokens: int) -> Machine:
    """This machine, multiplying `tokens` rows (those of one step) by a feed-forward layer of the model: small models
    are slower than the hardware's peak. One product of (m, k) by (k, n) is 2mkn FLOP. Imports torch."""
    import torch

    from posttrain.model.load import pick_dtype

    dtype, on_gpu = pick_dtype("auto"), torch.cuda.is_available()
    place = "cuda" if on_gpu else "cpu"
    rows = torch.randn(min(tokens, 8192), size.hidden, device=place, dtype=dtype)
    weights = torch.randn(size.hidden, size.intermediate, device=place, dtype=dtype)

    def work() -> None:
        for _ in range(4):
            rows @ weights
        if on_gpu:
            torch.cuda.synchronize()

    work()
    work()
    done, started = 0, time.monotonic()
    while (spent := time.monotonic() - started) < PROBE_SECONDS:
        work()
        done += 4
    rate = done * 2 * rows.shape[0] * size.hidden * size.intermediate / spent
    device, threads = this_device(), torch.get_num_threads()
    name = device.name if on_gpu else f"{threads} CPU thread{'s' * (threads > 1)}"
    return Machine(name, device.total, str(dtype).removeprefix("torch."), rate, on_gpu)
