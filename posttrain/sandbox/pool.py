"""Zygotes that are ready: one for each core and configuration, lent to one thread at a time."""

from __future__ import annotations

import atexit
import contextlib
import os
import queue
from collections.abc import Iterator

from posttrain.limits import cores
from posttrain.sandbox.zygote import Configuration, SandboxError, Zygote

WORKERS = min(32, cores())

# One slot a worker; an empty one is filled when it is taken. Last in, first out takes the running ones first.
_slots: dict[Configuration, queue.LifoQueue[Zygote | None]] = {}


@contextlib.contextmanager
def lent(configuration: Configuration) -> Iterator[Zygote]:
    """Lend a zygote; one that failed is ended. Raises SandboxError when none can be started."""
    slots = _slots.get(configuration) or _slots.setdefault(configuration, _empty())
    zygote = slots.get()
    try:
        if zygote is None:
            zygote = Zygote(configuration)
        yield zygote
    except SandboxError:
        if zygote is not None:
            zygote.end()
        zygote = None
        raise
    finally:
        slots.put(zygote)


def close() -> None:
    """End the zygotes that are idle; they start again when they are needed."""
    for slots in list(_slots.values()):
        idle = []
        with contextlib.suppress(queue.Empty):
            while True:
                idle.append(slots.get_nowait())
        for zygote in idle:
            if zygote is not None:
                zygote.end()
            slots.put(None)


def _empty() -> queue.LifoQueue[Zygote | None]:
    slots: queue.LifoQueue[Zygote | None] = queue.LifoQueue()
    for _ in range(WORKERS):
        slots.put(None)
    return slots


atexit.register(close)
# A forked child must not talk through its parent's sockets.
os.register_at_fork(after_in_child=_slots.clear)
