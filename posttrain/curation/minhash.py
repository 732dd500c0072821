"""Rows whose sets of shingles are nearly the same: candidates by MinHash LSH, each verified by its true Jaccard.

Broder, "On the resemblance and containment of documents" (1997); Leskovec, Rajaraman, Ullman, "Mining of Massive
Datasets", section 3.4, for the bands.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from posttrain.curation.normalised import normalised, shingles
from posttrain.curation.spool import Spool, spool
from posttrain.data.ngrams import numbers

THRESHOLD = 0.8
HASHES = 128
MISSED = 0.01
"""The most pairs right at the threshold that no band may find."""

_UNSURE = 0.15  # four standard errors of a Jaccard estimated by 128 hashes
_BLOCK = 4096

_rng = np.random.default_rng(1997)
_MULTIPLY, _ADD, _MIX = (_rng.integers(0, 2**64, HASHES, dtype=np.uint64) | np.uint64(1) for _ in range(3))


def near_duplicates(texts: Iterable[str], threshold: float = THRESHOLD) -> dict[int, int]:
    """The texts that are nearly an earlier one, by their numbers: each with the one that it is nearly.

    Nearly: of the runs of three words that either has, at least `threshold` are in both; case and punctuation do
    not count. The earlier one is not in the answer itself. Memory holds some 250 bytes a text.
    """
    sketches: list[bytes] = []
    with tempfile.TemporaryDirectory() as folder, spool(Path(folder)) as kept:
        for text in texts:
            found = shingles([numbers(normalised(text))])
            sketches.append(sketch(found, threshold))
            kept.add(pack(found))
        return find_near(sketches, kept, range(len(sketches)), threshold)


@lru_cache
def rows_of_band(threshold: float) -> int:
    """As many hashes a band as still find all but `MISSED` of the pairs right at the threshold."""
    able = [rows for rows in range(1, HASHES + 1) if (1 - threshold**rows) ** (HASHES // rows) <= MISSED]
    return max(able, default=1)


def sketch(found: np.ndarray, threshold: float) -> bytes:
    """The sketch of a set of shingles: a byte of each hash, then the bands, 4 bytes each.

    Empty for an empty set, which resembles nothing.
    """
    if not len(found):
        return b""
    rows = rows_of_band(threshold)
    least = np.full(HASHES, 2**64 - 1, np.uint64)
    for start in range(0, len(found), _BLOCK):
        least = np.minimum(least, (found[start : start + _BLOCK, None] * _MULTIPLY + _ADD).min(axis=0))
    least >>= np.uint64(32)
    used = HASHES // rows * rows
    bands = (least[:used] * _MIX[:used]).reshape(-1, rows).sum(axis=1, dtype=np.uint64) >> np.uint64(32)
    return least.astype(np.uint8).tobytes() + bands.astype(np.uint32).tobytes()


def pack(*sets: np.ndarray) -> bytes:
    """Sets of shingles as bytes: how many each has, then they."""
    return b"".join([np.array([len(sets), *map(len, sets)], np.uint64).tobytes(), *(each.tobytes() for each in sets)])


def alike(one: bytes, other: bytes) -> float:
    """The Jaccard similarity of two packed rows: of the pair of their sets that is least so."""
    return min(_jaccard(*pair) for pair in zip(_unpack(one), _unpack(other), strict=True))


def find_near(sketches: Sequence[bytes], kept: Spool, order: Iterable[int], threshold: float) -> dict[int, int]:
    """The rows of `order` that are nearly one before them that stays, each with the first such one.

    `kept` has each row's sets, packed. Every pair in the answer is verified; a row that goes is not compared with
    those after it, so chains do not carry one far away.
    """
    order = [row for row in order if sketches[row]]
    if not order:
        return {}
    listed = np.frombuffer(b"".join(sketches[row] for row in order), np.uint8).reshape(len(order), -1)
    hashes, buckets = listed[:, :HASHES], _buckets(listed[:, HASHES:].copy().view(np.uint32))
    members: dict[int, list[int]] = {}
    found: dict[int, int] = {}
    for at in np.flatnonzero((buckets >= 0).any(axis=1)).tolist():
        own = [bucket for bucket in buckets[at].tolist() if bucket >= 0]
        others = sorted({other for bucket in own for other in members.get(bucket, ())})
        twin = _first_alike(at, others, order, hashes, kept, threshold)
        if twin is not None:
            found[order[at]] = order[twin]
            continue
        for bucket in own:
            members.setdefault(bucket, []).append(at)
    return found


def _first_alike(
    at: int, others: list[int], order: list[int], hashes: np.ndarray, kept: Spool, threshold: float
) -> int | None:
    if not others:
        return None
    estimates = (hashes[others] == hashes[at]).mean(axis=1)
    likely = [other for other, value in zip(others, estimates, strict=True) if value >= threshold - _UNSURE]
    (own,) = kept.read([order[at]]) if likely else (b"",)
    for other in likely:
        (theirs,) = kept.read([order[other]])
        if alike(own, theirs) >= threshold:
            return other
    return None


def _buckets(bands: np.ndarray) -> np.ndarray:
    """A number for each band's value that several rows have, apart for each band; -1 where a row is alone."""
    numbered = np.empty(bands.shape, np.int32)
    used = 0
    for band in range(bands.shape[1]):
        values, of_row, counts = np.unique(bands[:, band], return_inverse=True, return_counts=True)
        numbered[:, band] = np.where(counts[of_row] > 1, of_row + used, -1)
        used += len(values)
    return numbered


def _unpack(packed: bytes) -> list[np.ndarray]:
    flat = np.frombuffer(packed, np.uint64)
    sizes = flat[1 : 1 + int(flat[0])].astype(np.int64)
    return np.split(flat[1 + len(sizes) :], np.cumsum(sizes)[:-1])


def _jaccard(one: np.ndarray, other: np.ndarray) -> float:
    if not len(one) and not len(other):
        return 1.0
    both = len(np.intersect1d(one, other, assume_unique=True))
    return both / (len(one) + len(other) - both)
