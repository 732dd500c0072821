"""How far a long piece of work is, on stderr: a bar in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from posttrain.plain_output import print_plainly
from posttrain.visible import on_one_line

SILENT_SECONDS = 2.0
LINE_SECONDS = 10.0


@contextmanager
def progress(label: str, total: int) -> Iterator[Callable[..., None]]:
    """Give a function to call, from any thread, when one more of `total` is done, or with how many are.

    Work that is over within two seconds shows nothing. Where stderr is no terminal there is a line every ten
    seconds, with the time that is left at the pace so far.
    """
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    task = bar.add_task(on_one_line(label), total=total)
    started = said = time.monotonic()

    def advance(count: int = 1) -> None:
        nonlocal said
        bar.advance(task, count)
        now = time.monotonic()
        if now - started < SILENT_SECONDS:
            return
        if console.is_terminal:
            bar.start()
            print_plainly()
        elif now - said >= LINE_SECONDS:
            said = now
            print(line(label, int(bar.tasks[0].completed), total, now - started), file=sys.stderr)

    try:
        yield advance
    finally:
        bar.stop()


def line(label: str, done: int, total: int, seconds: float) -> str:
    """Return ``grade: 120 of 1,319, about 40 s left``."""
    left = seconds / max(done, 1) * (total - done)
    return f"{label}: {done:,} of {total:,}, about {left:,.0f} s left"
