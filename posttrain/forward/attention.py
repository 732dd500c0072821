"""Attention over a flat sequence: each segment sees itself and what precedes it in its rows."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from posttrain.forward.layout import Block, Layout

NAME = "posttrain_rows"
"""What a model's attention implementation is called while it is computed so. Without a layout it is `sdpa`."""


def rows_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    layout: Layout | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Return the attention's output (1, tokens, heads, width), given `query`, `key` and `value` (1, heads, tokens,
    width) of a batch laid out flat; without a `layout`, what transformers' sdpa returns.

    Raises NotImplementedError for an attention of another kind; the trial before training then goes TRL's way.
    """
    if layout is None:  # a window is in the mask, there
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout, scaling, **kwargs)
    if unknown := {name for name in ("softcap", "s_aux", "position_bias") if kwargs.get(name) is not None}:
        raise NotImplementedError(f"attention with {', '.join(sorted(unknown))}")
    config = getattr(module, "config", None)
    if sliding_window is None and getattr(config, "sliding_window", None) and _slides(module, config):
        raise NotImplementedError("a window that is in the mask alone")
    flat_query, flat_key, flat_value = (states[0].transpose(0, 1) for states in (query, key, value))
    outputs = [
        _attend(block, flat_query, flat_key, flat_value, dropout, scaling, sliding_window) for block in layout.blocks
    ]
    return torch.cat(outputs)[None], None


def _attend(
    block: Block,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    dropout: float,
    scaling: float | None,
    window: int | None,
) -> torch.Tensor:
    """Return the output (tokens of the block, heads, width) of states (tokens, heads, width)."""
    if window is not None and window >= block.keys.shape[1]:
        window = None
    causal = block.causal and window is None
    keys, values = _taken(key, block.keys), _taken(value, block.keys)
    grouped = keys.shape[1] != query.shape[1]
    if grouped and not causal and query.is_cuda:  # there a mask with grouped heads has no kernel of its own
        groups = query.shape[1] // keys.shape[1]
        keys, values, grouped = repeat_kv(keys, groups), repeat_kv(values, groups), False
    output = scaled_dot_product_attention(
        _taken(query, block.queries),
        keys,
        values,
        attn_mask=None if causal else block.mask(window, query.dtype),
        dropout_p=dropout,
        scale=scaling,
        is_causal=causal,  # padding is on the right, where no token looks
        enable_gqa=grouped,
    )
    output = output.transpose(1, 2).flatten(0, 1)
    return output if block.real is None else output.index_select(0, block.real)


def _slides(module: torch.nn.Module, config: Any) -> bool:
    """Whether a layer of a model with a window has one, as far as the configuration tells."""
    kinds = getattr(config, "layer_types", None)
    if kinds is None or getattr(module, "layer_idx", None) is None:
        return getattr(config, "use_sliding_window", True)
    return bool(kinds[module.layer_idx] == "sliding_attention")


def _taken(states: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Return (segments, heads, longest, width) of states (tokens, heads, width)."""
    return states.index_select(0, places.flatten()).unflatten(0, places.shape).transpose(1, 2)


def register() -> None:
    """Make the attention known to transformers under `NAME`."""
    AttentionInterface.register(NAME, rows_attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
