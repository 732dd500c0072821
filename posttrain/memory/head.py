"""The projection onto the vocabulary: logits exist in tiles alone, of TRL's ``ChunkedLogProbFunction`` on a GPU and of
`forward/head.py` on a CPU, which keeps a bounded number of probabilities for the way back."""

from __future__ import annotations

from dataclasses import dataclass

from posttrain.forward.tiles import MOST_KEPT, PIECE
from posttrain.memory.blueprint import Blueprint
from posttrain.memory.work import Work

_TILE = (4096, 32_768)  # positions and columns, as TRL has them; the softmax and its gradient are worked out in place
_TENSORS = 3  # of a piece's size in float32: its logits and what is worked out of them


@dataclass(frozen=True)
class Head:
    """Bytes: `work` while the output head is computed, there and back; `gradient` that it leaves behind."""

    work: int
    gradient: int


def head_of(blueprint: Blueprint, work: Work) -> Head:
    """Return what the output head takes for `work`: a tile, the hidden states with their gradient in float32, and
    where the head is trained its whole gradient, in float32 and in the weights' dtype."""
    vocabulary, width = blueprint.head.shape
    positions = work.rows * work.width
    if work.on_gpu:
        tile = min(positions, _TILE[0]) * min(vocabulary, _TILE[1]) * work.compute.itemsize
    else:
        tile = min(positions * vocabulary * 4, MOST_KEPT) + min(positions, PIECE) * vocabulary * 4 * _TENSORS
    hidden = positions * width * (4 + work.compute.itemsize)
    if not blueprint.head.requires_grad:
        return Head(tile + hidden, 0)
    gradient = vocabulary * width * 4
    converted = 0 if blueprint.head.dtype.itemsize == 4 else blueprint.head.nbytes
    return Head(tile + hidden + gradient + converted, blueprint.head.nbytes)
