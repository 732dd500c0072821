"""Rows longer than `max_length`: which part is kept, and where a long conversation is split."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from posttrain.data.masks import IGNORED

TooLong = Literal["keep_start", "keep_end", "drop", "split"]


def kept_part(max_length: int | None, too_long: str) -> slice:
    """Return the part of a row's tokens that `keep_start` or `keep_end` leaves."""
    if max_length is None:
        return slice(None)
    return slice(-max_length, None) if too_long == "keep_end" else slice(max_length)


def cut(ids: list[int], labels: list[int], max_length: int | None, too_long: str) -> list[tuple[list[int], list[int]]]:
    """Return the ids and labels of the rows that one row becomes: several, where `too_long` splits it."""
    if too_long == "split" and max_length is not None and len(ids) > max_length:
        # Two parts may share a token, the context of the later one's first: it is trained in the earlier one.
        return [(ids[part], [IGNORED, *labels[part][1:]]) for part in split_parts(labels, max_length)]
    part = kept_part(max_length, too_long)
    return [(ids[part], labels[part])]


def trains(labels: Sequence[int]) -> bool:
    """Return whether a row has a loss: the first token has none, since nothing stands before it."""
    return labels[1:].count(IGNORED) < len(labels) - 1


def split_parts(labels: Sequence[int], max_length: int) -> list[slice]:
    """Return parts of at most `max_length` tokens that together train each trained token once.

    A part ends with an assistant turn. An answer that does not fit below what stands before it loses the beginning of
    that, down to half of `max_length`; one that does not fit then is cut, and its next part begins with the last
    token of the part before, to predict from. Untrained stretches between parts are left out.
    """
    parts: list[slice] = []
    start = end = 0  # of the part that is being filled
    for first, last in _trained_runs(labels) if max_length > 1 else ():
        if last > start + max_length and end > start:
            parts.append(slice(start, end))
            start = end
        while last > start + max_length:
            start = max(start, min(last - max_length, max(first, start + 1) - max_length // 2))
            if last > start + max_length:
                parts.append(slice(start, start + max_length))
                start += max_length - 1
        end = last
    return [*parts, slice(start, end)] if end > start else parts


def _trained_runs(labels: Sequence[int]) -> list[tuple[int, int]]:
    """Return ``(start, end)`` of each stretch of trained tokens."""
    trained = [False, *(label != IGNORED for label in labels), False]
    borders = [at for at in range(len(labels) + 1) if trained[at] != trained[at + 1]]
    return list(zip(borders[::2], borders[1::2], strict=True))
