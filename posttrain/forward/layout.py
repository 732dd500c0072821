"""Where the tokens of a tree stand in one flat sequence, and which of them each one may attend to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from posttrain.forward.tree import Segment, segments_of

_WASTE = 1.3  # times as many pairs of query and key as needed, before segments are computed apart
_SMALL = 16_384  # pairs: so few cost less than another call
_LONG = 512  # tokens: below it a mask costs less than asking what precedes a segment again


@dataclass(frozen=True)
class Block:
    """Segments of about one length whose attention is computed together, padded on the right.

    `queries` (segments, longest) and `keys` (segments, longest of segment and what precedes it) are places in the flat
    sequence. `real` are the queries whose output is a segment's own, as places in the flattened `queries`; None: all
    are. The others are padding, or tokens before the segment.
    """

    queries: torch.Tensor
    keys: torch.Tensor
    real: torch.Tensor | None
    causal: bool  # the first query sees the first key alone
    query_lengths: torch.Tensor
    key_lengths: torch.Tensor
    masks: dict[tuple[int | None, torch.dtype], torch.Tensor] = field(default_factory=dict, compare=False)

    def mask(self, window: int | None, dtype: torch.dtype) -> torch.Tensor:
        """Return (segments, 1, queries, keys): 0 where a query may see a key, at most `window` - 1 tokens behind it,
        else -inf. A padding query sees everything, so that it is a number."""
        if (window, dtype) not in self.masks:
            device = self.queries.device
            query = torch.arange(self.queries.shape[1], device=device)[None, :, None]
            key = torch.arange(self.keys.shape[1], device=device)[None, None, :]
            behind = (self.key_lengths - self.query_lengths)[:, None, None] + query - key
            seen = behind >= 0
            if window is not None:
                seen &= behind < window
            seen |= query >= self.query_lengths[:, None, None]
            blocked = torch.zeros(seen.shape, dtype=dtype, device=device).masked_fill(~seen, -torch.inf)
            self.masks[window, dtype] = blocked[:, None]
        return self.masks[window, dtype]


@dataclass(frozen=True)
class Layout:
    """A batch laid out flat: ``input_ids`` and ``position_ids`` (1, tokens), the blocks of its attention in the order
    of the flat sequence, and `place`, by row, of each of the row's tokens."""

    input_ids: torch.Tensor
    position_ids: torch.Tensor
    blocks: list[Block]
    place: list[np.ndarray]


def lay_out(rows: Sequence[np.ndarray], device: torch.device | str = "cpu") -> Layout:
    """Return the layout of token rows of which at least one has a token."""
    segments = segments_of(rows)
    groups = list(_alike(segments))
    begin = np.zeros(len(segments), dtype=np.int64)
    at = 0
    for group in groups:
        for number in group:
            begin[number] = at
            at += len(segments[number])
    chains = _chains(segments, begin)
    ids, positions = np.empty(at, dtype=np.int64), np.empty(at, dtype=np.int64)
    place = [np.empty(len(row), dtype=np.int64) for row in rows]
    for number, segment in enumerate(segments):
        here = slice(begin[number], begin[number] + len(segment))
        ids[here] = rows[segment.rows[0]][segment.start : segment.end]
        positions[here] = np.arange(segment.start, segment.end)
        for row in segment.rows:
            place[row][segment.start : segment.end] = np.arange(here.start, here.stop)
    return Layout(
        input_ids=torch.from_numpy(ids)[None].to(device),
        position_ids=torch.from_numpy(positions)[None].to(device),
        blocks=[_block([segments[n] for n in group], [chains[n] for n in group], device) for group in groups],
        place=place,
    )


def _chains(segments: Sequence[Segment], begin: np.ndarray) -> list[np.ndarray]:
    """Return, by segment, the places of its tokens and of all that precede them."""
    chains: list[np.ndarray] = []
    for number, segment in enumerate(segments):
        own = np.arange(begin[number], begin[number] + len(segment))
        chains.append(own if segment.parent is None else np.concatenate([chains[segment.parent], own]))
    return chains


def _is_causal(segment: Segment) -> bool:
    """Whether a segment's attention needs no mask: nothing precedes it, or what does is no longer than it, and is asked
    again. Half the pairs of a whole row are then no more than all pairs of a segment and what it sees."""
    return segment.start == 0 or (len(segment) >= _LONG and segment.start <= len(segment))


def _queries(segment: Segment) -> int:
    return segment.end if _is_causal(segment) else len(segment)


def _alike(segments: Sequence[Segment]) -> Iterator[list[int]]:
    """Yield the numbers of segments to compute together: of about one length, and all with a mask or all without."""
    order = sorted(
        range(len(segments)), key=lambda n: (not _is_causal(segments[n]), -segments[n].end, -len(segments[n]))
    )
    group: list[int] = []
    needed = longest = most = 0
    for number in order:
        queries, keys = _queries(segments[number]), segments[number].end
        padded = (len(group) + 1) * max(longest, queries) * max(most, keys)
        other_kind = bool(group) and _is_causal(segments[group[0]]) != _is_causal(segments[number])
        if group and (other_kind or padded > max(_WASTE * (needed + queries * keys), needed + queries * keys + _SMALL)):
            yield group
            group, needed, longest, most = [], 0, 0, 0
        group.append(number)
        needed, longest, most = needed + queries * keys, max(longest, queries), max(most, keys)
    yield group


def _block(segments: Sequence[Segment], chains: Sequence[np.ndarray], device: torch.device | str) -> Block:
    own = np.array([len(segment) for segment in segments])
    asked = np.array([_queries(segment) for segment in segments])
    seen = np.array([len(chain) for chain in chains])
    queries = np.zeros((len(segments), asked.max()), dtype=np.int64)
    keys = np.zeros((len(segments), seen.max()), dtype=np.int64)
    for i, chain in enumerate(chains):
        queries[i, : asked[i]] = chain[len(chain) - asked[i] :]
        keys[i, : seen[i]] = chain
    number = np.arange(queries.shape[1])
    real = np.flatnonzero((number >= (asked - own)[:, None]) & (number < asked[:, None]))
    return Block(
        queries=torch.from_numpy(queries).to(device),
        keys=torch.from_numpy(keys).to(device),
        real=None if len(real) == queries.size else torch.from_numpy(real).to(device),
        causal=_is_causal(segments[0]),
        query_lengths=torch.from_numpy(asked).to(device),
        key_lengths=torch.from_numpy(seen).to(device),
    )
