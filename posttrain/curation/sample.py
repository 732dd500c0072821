"""Some rows of a source: at random, of each value of a column, the first, the shortest, the longest."""

from __future__ import annotations

import json
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from posttrain.curation.source import count_rows, each_row, first_lines, marked_lines, name_of, value_of
from posttrain.curation.spool import spool
from posttrain.curation.write import new_file, refuse_existing
from posttrain.data.mixture import allocate, draw, random_state, shares_by_weight
from posttrain.errors import UserError
from posttrain.recipe.schema import Source

How = Literal["random", "head", "shortest", "longest"]


def sample(
    source: Source,
    count: int,
    out: Path,
    *,
    how: How = "random",
    per: str | None = None,
    equal: bool = False,
    seed: int = 0,
    force: bool = False,
) -> dict[str, int]:
    """Write `count` rows of `source`, as they are, to `out`; return how many there are of each value of `per`.

    They stay in the source's order, but the shortest and the longest come by length: the characters of their JSON.
    With `per` each value of that column is there in proportion or, with `equal`, as often as any other while it has
    rows. Raises UserError where there are fewer rows.
    """
    refuse_existing(out, force=force)
    taken: dict[str, int] = {}
    if how == "head":
        with new_file(out, force=force) as file:
            for line in first_lines(source, count):
                file.write_line(line)
            _enough(source, file.rows, count)
        return taken
    if how != "random":
        chosen, rows = _by_length(source, count, how)
    elif per is not None:
        chosen, rows, taken = _per(source, count, per, equal, seed)
    else:
        rows = _enough(source, count_rows(source), count)
        chosen = draw(rows, count, random_state(seed, "sample"))
    with new_file(out, force=force) as file, spool(out.parent) as lines:
        for line, _ in marked_lines(source, np.bincount(chosen, minlength=rows), "reading"):
            lines.add(line)
        for line in lines.read(np.argsort(np.argsort(chosen))):  # the rank of each among them all
            file.write_line(line)
    return taken


def evenly(sizes: Sequence[int], count: int) -> list[int]:
    """`count` shared out as evenly as `sizes` allow."""
    taken = [0] * len(sizes)
    while left := count - sum(taken):
        able = [i for i, size in enumerate(sizes) if taken[i] < size]
        for i, more in zip(able, allocate([1 / len(able)] * len(able), left), strict=True):
            taken[i] = min(sizes[i], taken[i] + more)
    return taken


def _by_length(source: Source, count: int, how: How) -> tuple[np.ndarray, int]:
    lengths = array("q")
    with each_row(source, "measuring") as rows:
        for row, _ in rows:
            lengths.append(len(json.dumps(row, ensure_ascii=False, default=str)))
    _enough(source, len(lengths), count)
    by_length = np.array(lengths) * (1 if how == "shortest" else -1)
    return np.argsort(by_length, kind="stable")[:count], len(lengths)


def _per(source: Source, count: int, column: str, equal: bool, seed: int) -> tuple[np.ndarray, int, dict[str, int]]:
    numbers: dict[str, int] = {}
    of_row = array("q")
    with each_row(source, "reading") as rows:
        for row, place in rows:
            of_row.append(numbers.setdefault(_value(row, column, place), len(numbers)))
    _enough(source, len(of_row), count)
    values = np.array(of_row)
    sizes = np.bincount(values).tolist()
    wanted = evenly(sizes, count) if equal else allocate(shares_by_weight(sizes), count)
    rng = random_state(seed, "sample")
    chosen = [np.flatnonzero(values == i)[draw(size, wanted[i], rng)] for i, size in enumerate(sizes)]
    return np.sort(np.concatenate(chosen)), len(values), dict(zip(numbers, wanted, strict=True))


def _value(row: dict[str, Any], column: str, place: str) -> str:
    value = value_of(row, column)
    if value is None:
        raise UserError(f"the row has no {column}", where=place, fix=f"Its columns: {', '.join(map(str, row))}.")
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _enough(source: Source, rows: int, count: int) -> int:
    if rows < count:
        raise UserError(f"has {rows:,} rows, and {count:,} are asked for", where=name_of(source), fix=f"-n {rows}")
    return rows
