"""What the ranks of a trainer do together: share rows, and leave work that a stop cuts short."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from posttrain import stopping
from posttrain.errors import Stopped

T = TypeVar("T")


def everyones(rows: list[T]) -> list[T]:
    """Return the rows of all ranks, in the ranks' order, in every rank."""
    from accelerate import PartialState
    from accelerate.utils import gather_object

    return list(gather_object(rows)) if PartialState().num_processes > 1 else rows


def until_stopped(work: Callable[[], list[T]]) -> list[T]:
    """Return what `work` returns in this rank. A stop leaves it where it is: Stopped is then raised in every rank, once
    all have come here. `work` must not wait for other ranks."""
    number, found = 0, []
    try:
        with stopping.leavable():
            found = work()
    except Stopped as stop:
        number = stop.number
    # And out of that block, whose traceback holds on to what the work has open.
    if number := max(everyones([number])):
        raise Stopped(number)
    return found


def agreed(args: Any, value: int) -> int:
    """Return the highest value of all ranks, in every rank."""
    if args.world_size <= 1:
        return value
    import torch
    import torch.distributed as dist

    tensor = torch.tensor([value], device=args.device)
    dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
    return int(tensor.item())
