"""The key-value cache of rows that come and go.

Rows end in the same column and are padded on the left. So a row of any length joins with the padding it needs, and
a merge is as wide as its longest row.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import pad
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from posttrain.model.plain import plain_model

_ROOM = 64  # columns


class RoomyLayer(DynamicLayer):
    """A full-attention layer with room for tokens to come; its parent copies all it holds for every token."""

    def __init__(self, room: Sequence[torch.Tensor], columns: int) -> None:
        """Take keys and values with some columns to spare after the first `columns`."""
        super().__init__()
        self.lazy_initialization(room[0], room[1])
        self.room = list(room)
        self.keys, self.values = self._shown(columns)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args, **kwargs
    ) -> tuple[torch.Tensor, torch.Tensor]:
        held = self.get_seq_length()
        columns = held + key_states.shape[-2]
        if columns > self.room[0].shape[-2]:
            self.room = [pad(states, (0, 0, 0, columns + _ROOM - states.shape[-2])) for states in self.room]
        for states, new in zip(self.room, (key_states, value_states), strict=True):
            states[..., held:columns, :] = new
        self.keys, self.values = shown = self._shown(columns)
        return shown

    def close_up(self, places: torch.Tensor, rows: torch.Tensor, count: int, columns: int) -> None:
        """Move these rows to these places, and keep the first `count` rows and the last `columns`. What is let go
        stays in memory until the next copy."""
        first = self.get_seq_length() - columns
        for states in self.room:
            states[places] = states[rows]
        self.room = [states[:count, :, first:] for states in self.room]
        self.keys, self.values = self._shown(columns)

    def reset(self) -> None:
        super().reset()
        self.room = []

    def _shown(self, columns: int) -> tuple[torch.Tensor, torch.Tensor]:
        keys, values = self.room
        return keys[..., :columns, :], values[..., :columns, :]


def can_close_up(cache: Cache) -> bool:
    """Whether rows can leave the cache without a copy of it: all of its layers have `close_up`."""
    return all(isinstance(layer, RoomyLayer) for layer in cache.layers)


def close_up(cache: Cache, places: torch.Tensor, rows: torch.Tensor, count: int, columns: int) -> None:
    """Have all layers of a cache that can do it `close_up`."""
    for layer in cache.layers:
        if isinstance(layer, RoomyLayer):
            device = layer.room[0].device  # a model may be spread over several
            layer.close_up(places.to(device), rows.to(device), count, columns)


@dataclass(frozen=True)
class Part:
    """Rows of a cache, by their indices in the order wanted; one may be wanted several times."""

    cache: Cache
    rows: Sequence[int]


def merge(parts: Sequence[Part], columns: int) -> Cache:
    """Return one cache of the parts' rows, `columns` wide, and empty the parts' own."""
    merged: list[Any] = []
    for layers in zip(*(part.cache.layers for part in parts), strict=True):
        merged.append(_merge_layer(layers, [part.rows for part in parts], columns))
        for layer in layers:  # now, not at the end: two whole caches may not fit
            layer.reset()
    return Cache(layers=merged)


def _merge_layer(layers: Sequence[Any], rows: Sequence[Sequence[int]], columns: int) -> DynamicLayer:
    """Return one layer of the layers' rows."""
    window = getattr(layers[0], "sliding_window", None)
    if window is None:
        return RoomyLayer(_states(layers, rows, columns, _ROOM), columns)
    sliding = DynamicSlidingWindowLayer(sliding_window=window)
    sliding.update(*_states(layers, rows, min(columns, window - 1), 0))
    sliding.cumulative_length = columns  # seen, of which the window holds the last
    return sliding


def _states(layers: Sequence[Any], rows: Sequence[Sequence[int]], columns: int, room: int) -> list[torch.Tensor]:
    """Return keys and values: the last `columns` of each row, 0 where it has fewer, and `room` columns of 0.

    Both are in the dtype of the narrower. Under autocast keys come in float32, and attention would round all of them
    for every token.
    """
    dtype = min((layers[0].keys.dtype, layers[0].values.dtype), key=lambda one: one.itemsize)
    found = []
    for name in ("keys", "values"):
        like = getattr(layers[0], name)
        whole = like.new_zeros(sum(map(len, rows)), like.shape[1], columns + room, like.shape[-1], dtype=dtype)
        start = 0
        for layer, wanted in zip(layers, rows, strict=True):
            states = getattr(layer, name)
            shared = min(columns, states.shape[-2])
            index = torch.tensor(wanted, dtype=torch.long, device=states.device)
            target = whole[start : start + len(wanted), :, columns - shared : columns]
            target.copy_(states[:, :, states.shape[-2] - shared :].index_select(0, index))
            start += len(wanted)
        found.append(whole)
    return found


def can_merge(model: Any) -> bool:
    """Whether `merge` knows the model's cache: attention, full or in a sliding window, in every layer.

    What linear attention keeps could be gathered too, but not padded: a row joins with columns it has not seen.
    """
    if not {"past_key_values", "attention_mask"} <= forward_parameters(model).keys():
        return False
    config = model.config.get_text_config(decoder=True)
    if "chunked_attention" in (getattr(config, "layer_types", None) or ()):
        return False  # the same layer class, but its window begins where a chunk does
    return {type(layer) for layer in DynamicCache(config=config).layers} <= {DynamicLayer, DynamicSlidingWindowLayer}


def forward_parameters(model: Any) -> Mapping[str, inspect.Parameter]:
    """Return what the model's own forward takes, also when peft or accelerate wraps it."""
    return inspect.signature(type(plain_model(model)).forward).parameters
