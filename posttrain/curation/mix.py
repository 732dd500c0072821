"""Sources to one file of rows, each with its share, in an order drawn by a seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from posttrain.curation.source import count_rows, marked_lines, name_of
from posttrain.curation.spool import spool
from posttrain.curation.write import new_file, refuse_existing
from posttrain.data.mixture import draw, random_state
from posttrain.recipe.schema import Source


@dataclass(frozen=True)
class Part:
    """What a source gave: `taken` of its `rows`, `repeated` of them not for the first time."""

    source: str
    rows: int
    taken: int
    repeated: int


@dataclass(frozen=True)
class Mixed:
    """The file, and what came from where."""

    path: str
    rows: int
    parts: list[Part]

    def as_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return asdict(self)


def mix(
    sources: Sequence[Source],
    out: Path,
    share_out: Callable[[list[int]], list[int]],
    *,
    seed: int = 0,
    force: bool = False,
) -> Mixed:
    """Write a mixture to `out`, shuffled: `share_out` says from the rows that each source has how many it gives.

    A source's `limit` is the most of its rows that have a part in it, drawn first. A source that gives more rows
    than that gives each as often as any other, or once more. Raises UserError.
    """
    refuse_existing(out, force=force)
    counts = [count_rows(source) for source in sources]
    pools = [min(count, source.limit or count) for count, source in zip(counts, sources, strict=True)]
    wanted = share_out(pools)
    with new_file(out, force=force) as file, spool(out.parent) as lines:
        repeats: list[int] = []
        for index, source in enumerate(sources):
            rng = random_state(seed, "mix", index)
            pool = draw(counts[index], pools[index], rng)
            times = np.bincount(pool[draw(len(pool), wanted[index], rng)], minlength=counts[index])
            for line, count in marked_lines(source, times, "reading"):
                repeats += [len(lines)] * count
                lines.add(line)
        for line in lines.read(random_state(seed, "order").permutation(np.array(repeats, dtype=np.int64))):
            file.write_line(line)
    parts = [
        Part(name_of(source), count, taken, taken - min(taken, pool))
        for source, count, taken, pool in zip(sources, counts, wanted, pools, strict=True)
    ]
    return Mixed(str(out), file.rows, parts)


def report(done: Mixed) -> list[str]:
    """A table of what came from where."""
    width = max(len("source"), *(len(part.source) for part in done.parts))
    lines = [f"{'source':{width}}  {'has':>11}  {'gave':>11}  {'share':>6}  {'repeated':>11}"]
    for part in done.parts:
        share = part.taken / done.rows
        lines.append(f"{part.source:{width}}  {part.rows:>11,}  {part.taken:>11,}  {share:>6.1%}  {part.repeated:>11,}")
    lines.append(f"{'all':{width}}  {sum(part.rows for part in done.parts):>11,}  {done.rows:>11,}")
    return lines
