"""The projection onto the vocabulary: logits exist in tiles alone, of TRL's ``ChunkedLogProbFunction``."""

from __future__ import annotations

from dataclasses import dataclass

from posttrain.memory.blueprint import Blueprint
from posttrain.memory.work import Work

_TILE = (4096, 32_768)  # positions and columns, as TRL has them
# Bytes a logit of a tile beside its own: on a CPU the softmax and its gradient are worked out in float32 tensors of the
# tile's size, on a GPU in place.
_BESIDE = {True: 0, False: 8 * 4}


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
    tile = min(positions, _TILE[0]) * min(vocabulary, _TILE[1]) * (work.compute.itemsize + _BESIDE[work.on_gpu])
    hidden = positions * width * (4 + work.compute.itemsize)
    if not blueprint.head.requires_grad:
        return Head(tile + hidden, 0)
    gradient = vocabulary * width * 4
    converted = 0 if blueprint.head.dtype.itemsize == 4 else blueprint.head.nbytes
    return Head(tile + hidden + gradient + converted, blueprint.head.nbytes)
