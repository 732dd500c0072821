"""The same work on many chunks, by all cores, with the results in order and only a few chunks in memory."""

from __future__ import annotations

import gc
import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import chain, islice
from typing import Any, TypeVar

from posttrain import stopping
from posttrain.limits import cores

Task = TypeVar("Task")
Result = TypeVar("Result")


def in_order(
    work: Callable[[Task], Result],
    tasks: Iterable[Task],
    *,
    alone: int,
    prepare: Callable[..., None] | None = None,
    given: tuple[Any, ...] = (),
) -> Iterator[Result]:
    """Yield ``work(task)`` for each task, in order. Up to `alone` tasks are done in this process.

    More are shared out among as many processes as there are cores. Each process first calls ``prepare(*given)``,
    this one too. `work` and what goes in and out must pickle; the processes are fresh ones, since a fork of a
    process with threads or a GPU may hang. An exception of `work` is raised here at its turn.
    """
    tasks = iter(tasks)
    first = list(islice(tasks, alone + 1))
    if len(first) <= alone or cores() == 1:
        if prepare is not None:
            prepare(*given)
        yield from map(work, chain(first, tasks))
        return
    pool = ProcessPoolExecutor(
        cores(), multiprocessing.get_context("spawn"), initializer=_start, initargs=(prepare, given)
    )
    pending: deque[Future[Result]] = deque()
    try:
        for task in chain(first, tasks):
            with stopping.sheltered():  # processes start when work is there for them
                pending.append(pool.submit(_done, work, task))
            if len(pending) > 2 * cores():
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _done(work: Callable[[Task], Result], task: Task) -> Result:
    """What `work` returns. Its lists of millions of small objects would set off the search for cycles again and again,
    for a fifth of the time: it comes once, after the task, and looks at no object of an earlier one."""
    result = work(task)
    gc.collect()
    gc.freeze()
    return result


def _start(prepare: Callable[..., None] | None, given: tuple[Any, ...]) -> None:
    gc.disable()
    stopping.be_apart()  # the process that shares out the work stops the others
    threading.Thread(target=_end_with, args=(multiprocessing.parent_process(),), daemon=True).start()
    if prepare is not None:
        prepare(*given)


def _end_with(parent: Any) -> None:
    """End this process when its parent is gone; it would wait for work for ever."""
    parent.join()
    os._exit(1)
