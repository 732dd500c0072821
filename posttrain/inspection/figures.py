"""Small summaries that one pass can keep in bounded memory: lengths, keys of texts, counts with places."""

from __future__ import annotations

import hashlib
import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

BINS = 10
SKEWED = 20.0  # p99 over p1 from which equal bins would put nearly all rows into the first
EXAMPLES = 3  # places named with a count: enough to look, few enough for one line
Z_95 = 1.959964  # the normal quantile of a two-sided 95% interval


@dataclass
class Places:
    """How many rows there were, and where the first of them are."""

    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, place: str) -> None:
        self.count += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(place.rpartition("/")[2])


def key_of(text: str) -> int:
    """A 64-bit key of `text`. Among a million texts two differ and share one with a chance of 3 in 100 million."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def summary(lengths: array[int]) -> dict[str, Any] | None:
    """Total, mean, percentiles (nearest rank), maximum and histogram of `lengths`; None where there are none."""
    if not lengths:
        return None
    values = np.sort(np.frombuffer(lengths, dtype=np.int64))
    return {
        "total": int(values.sum()),
        "mean": float(values.mean()),
        "min": int(values[0]),
        "p50": nearest_rank(values, 0.5),
        "p95": nearest_rank(values, 0.95),
        "max": int(values[-1]),
        "histogram": histogram(values),
    }


def nearest_rank(values: np.ndarray[Any, Any], share: float) -> int:
    """The smallest of the sorted `values` that at least `share` of them do not exceed."""
    return int(values[max(math.ceil(share * len(values) - 1e-9), 1) - 1])


def histogram(values: np.ndarray[Any, Any]) -> list[dict[str, int]]:
    """Counts of sorted lengths from ``start`` up to, not including, ``end``; bins grow where lengths are skewed."""
    low, high = int(values[0]), int(values[-1])
    skewed = nearest_rank(values, 0.99) > SKEWED * max(nearest_rank(values, 0.01), 1)
    edges = np.geomspace(max(low, 1), high + 1, BINS + 1) if skewed else np.linspace(low, high + 1, BINS + 1)
    whole = np.unique(np.round(edges).astype(np.int64))
    whole[0] = low
    counts, _ = np.histogram(values, bins=np.append(whole[:-1], high + 1))
    return [
        {"start": int(start), "end": int(end), "rows": int(count)}
        for start, end, count in zip(whole, [*whole[1:-1], high + 1], counts, strict=False)
    ]


def repeated(keys: array[int]) -> int:
    """How many rows repeat an earlier one."""
    return len(keys) - len(np.unique(np.frombuffer(keys, dtype=np.uint64)))


def most_common(keys: array[int]) -> tuple[int, int]:
    """The index of the first of the most frequent keys, and how often it comes; the earliest among equals."""
    values = np.frombuffer(keys, dtype=np.uint64)
    _, first, counts = np.unique(values, return_index=True, return_counts=True)
    best = int(np.lexsort((first, -counts))[0])
    return int(first[best]), int(counts[best])


def several(groups: array[int], members: array[int]) -> int:
    """How many groups have more than one distinct member."""
    pairs = np.stack([np.frombuffer(groups, dtype=np.uint64), np.frombuffer(members, dtype=np.uint64)], axis=1)
    if not len(pairs):
        return 0
    _, counts = np.unique(np.unique(pairs, axis=0)[:, 0], return_counts=True)
    return int((counts > 1).sum())


def wilson(hits: int, total: int) -> tuple[float, float]:
    """The 95% interval of a share (Wilson 1927), which stays within 0 and 1 for small counts."""
    share, z2 = hits / total, Z_95**2
    middle = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = Z_95 / (1 + z2 / total) * math.sqrt(share * (1 - share) / total + z2 / (4 * total**2))
    return middle - half, middle + half


def distinct(keys: Sequence[int]) -> int:
    """How many different keys there are."""
    return len(np.unique(np.asarray(keys, dtype=np.uint64)))
