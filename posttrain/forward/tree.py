"""A batch as a tree: rows that begin alike share the tokens they begin with, and nothing is padding.

What precedes a token decides what a causal model makes of it. So the prompt of a preference pair, of a group of
completions, or of every row under the same system prompt, needs to be computed only once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

_WORTH_SHARING = 8  # tokens: below it, joining keys together costs more than the tokens it saves


@dataclass(frozen=True)
class Segment:
    """Tokens that follow on each other, from `start` to `end` in each of `rows`; `parent` is the number of the
    segment before them, None at the beginning of a row."""

    rows: tuple[int, ...]
    start: int
    end: int
    parent: int | None

    def __len__(self) -> int:
        return self.end - self.start


def segments_of(rows: Sequence[np.ndarray]) -> list[Segment]:
    """Return the segments of token rows: every token of a row is in one of its segments. A parent comes before
    its children. Rows of no tokens are in none."""
    found: list[Segment] = []
    order = sorted(range(len(rows)), key=lambda row: rows[row].tolist())
    _split(rows, [row for row in order if len(rows[row])], 0, None, found)
    return found


def _split(rows: Sequence[np.ndarray], alike: list[int], start: int, parent: int | None, found: list[Segment]) -> None:
    """Add the segments of the rows in `alike`, sorted by their tokens, which have the first `start` in common and in
    `found` already."""
    if not alike:
        return
    first, last = rows[alike[0]], rows[alike[-1]]
    common = _in_common(first, last)
    same = len(first) == len(last) == common
    if common > start and (same or common - start >= _WORTH_SHARING):
        found.append(Segment(tuple(alike), start, common, parent))
        start, parent = common, len(found) - 1
    if same:
        return
    for group in _by_token(rows, alike, common):
        _split(rows, group, start, parent, found)


def _by_token(rows: Sequence[np.ndarray], alike: list[int], at: int) -> Iterator[list[int]]:
    """Yield the rows by their token number `at`, rows that end before it first."""
    group: list[int] = []
    for row in alike:
        if group and _token(rows[row], at) != _token(rows[group[0]], at):
            yield group
            group = []
        group.append(row)
    yield group


def _token(row: np.ndarray, at: int) -> int:
    return int(row[at]) if at < len(row) else -1


def _in_common(one: np.ndarray, other: np.ndarray) -> int:
    """Return how many tokens two rows begin with alike."""
    shorter = min(len(one), len(other))
    differ = np.flatnonzero(one[:shorter] != other[:shorter])
    return int(differ[0]) if len(differ) else shorter
