"""Rows that must stay together, and parts of about the sizes asked for that keep them so."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Groups:
    """`of_row` is each row's group; `keys` says of each group what its place in a split depends on."""

    of_row: np.ndarray
    keys: list[bytes]


def groups_of(prompts: np.ndarray, others: np.ndarray | None = None) -> Groups:
    """Groups of rows that share a prompt or, where `others` are given, those too, directly or through other rows.

    Both are arrays of digests, one a row. A group's key is its prompt's, or the least of its `others`, which new
    rows with an old one do not change.
    """
    keys, of_row = np.unique(prompts, return_inverse=True)
    if others is None:
        return Groups(of_row, keys.tolist())
    keys, other_of_row = np.unique(others, return_inverse=True)
    # Both kinds of digests are nodes, and each row ties two of them together.
    root = list(range(len(keys) + int(of_row.max()) + 1))

    def find(node: int) -> int:
        while root[node] != node:
            root[node] = root[root[node]]
            node = root[node]
        return node

    for prompt, other in np.unique(np.stack([of_row, other_of_row]), axis=1).T.tolist():
        one, two = find(prompt + len(keys)), find(other)
        root[max(one, two)] = min(one, two)  # the least `other` of a group ends as its root: keys are sorted
    roots, other_group = np.unique([find(node) for node in range(len(keys))], return_inverse=True)
    return Groups(other_group[other_of_row], keys[roots].tolist())


def assign(
    groups: Groups, fractions: Sequence[float], seed: int, labels: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The part of each group, and of each row: part i has about ``fractions[i]`` of the rows.

    The groups are ranked by `seed` and their keys. The largest part is the rest: each other takes groups in the
    order of the rank until it has its rows, so that most groups keep their part when rows are added. With `labels`,
    groups of one label, of the other, and of both are each shared out so.
    """
    sizes = np.bincount(groups.of_row, minlength=len(groups.keys))
    salt = f"{seed} ".encode()
    rank = sorted(range(len(groups.keys)), key=lambda group: hashlib.sha256(salt + groups.keys[group]).digest())
    rest = int(np.argmax(fractions))
    parts = np.full(len(groups.keys), rest)
    owed = [0.0] * len(fractions)  # rows that a part lacks for whole rows of each stratum
    for stratum in _strata(groups, labels):
        ranked = iter([group for group in rank if stratum[group]])
        total = int(sizes[stratum].sum())
        for part, fraction in enumerate(fractions):
            if part == rest:
                continue
            owed[part] += fraction * total
            wanted, taken = round(owed[part]), 0
            while taken < wanted and (group := next(ranked, None)) is not None:
                parts[group] = part
                taken += int(sizes[group])
            owed[part] -= taken
    return parts, parts[groups.of_row]


def _strata(groups: Groups, labels: np.ndarray | None) -> list[np.ndarray]:
    """Which groups are of each stratum."""
    count = len(groups.keys)
    if labels is None:
        return [np.ones(count, dtype=bool)]
    up, down = (np.bincount(groups.of_row, labels == label, minlength=count) > 0 for label in (True, False))
    return [up & down, up & ~down, down & ~up]
