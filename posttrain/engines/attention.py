"""Attention of one new token a row, on a CPU in bfloat16: two matrix products instead of PyTorch's fused kernel.

The fused kernel takes its time from many queries. For one, it is the slower by half in bfloat16; in float32 the two
are alike, and it is left as it is. The queries of a group of heads are the columns of one product with their keys, so
that nothing is copied.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from posttrain.forward.attention import NAME
from posttrain.model.plain import plain_model

_NAME = "posttrain_decode"


@contextmanager
def decode_attention(model: Any) -> Iterator[None]:
    """Have a model whose attention is `sdpa`, or its kin in training, decode with the function below, where that is
    faster."""
    plain = plain_model(model)
    found = plain.config._attn_implementation
    if found not in ("sdpa", NAME) or plain.device.type != "cpu":
        yield
        return
    AttentionInterface.register(_NAME, attend)
    AttentionMaskInterface.register(_NAME, sdpa_mask)
    plain.set_attn_implementation(_NAME)
    try:
        yield
    finally:
        plain.set_attn_implementation(found)


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Return what `sdpa_attention_forward` does, (rows, queries, heads, size); it is called for all but one query.

    Query, key and value are (rows, heads, queries or columns, size), with as many or fewer heads of keys.
    """
    rows, heads, queries, size = query.shape
    shared = attention_mask is None or (attention_mask.dtype == torch.bool and attention_mask.shape[1] == 1)
    rounded = key.dtype == value.dtype == torch.bfloat16
    fast = queries == 1 and rounded and shared and kwargs.get("position_bias") is None
    if not fast or torch.is_grad_enabled():
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    grouped = query.to(key.dtype).view(rows, key.shape[1], -1, size)  # under autocast it may be in float32
    scores = torch.matmul(key, grouped.transpose(2, 3)).transpose(2, 3).float()
    scores *= size**-0.5 if scaling is None else scaling
    if attention_mask is not None:
        scores = scores.masked_fill_(~attention_mask, -torch.inf)
    weights = torch.softmax(scores, -1).to(value.dtype)
    return torch.matmul(weights, value).view(rows, 1, heads, -1), None
