"""The forward that TRL's trainers call, computed over rows laid out flat."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from trl.trainer.utils import FusedCausalLMOutput

from posttrain.forward.attention import NAME, register
from posttrain.forward.head import Head, head_of, score
from posttrain.forward.layout import lay_out

_READ = {"input_ids", "attention_mask", "position_ids", "use_cache", "return_dict"}
"""What of a batch is understood here. A batch with more goes TRL's way."""


@dataclass
class Flat:
    """Whether a model computes its trainer's batches flat, or as TRL does."""

    on: bool = True


def compute_flat(model: Any) -> Flat:
    """Have `model`, which TRL gave a fused LM head, compute what its trainer asks for without padding, with shared
    beginnings once, and the vocabulary at scored positions alone. Its other calls stay as they are."""
    register()
    model.set_attn_implementation(NAME)
    flat = Flat()
    signature = functools.wraps(type(model).forward)  # as TRL keeps it: `generate` reads what a model takes
    model.forward = types.MethodType(signature(_forward(model.forward, flat)), model)
    return flat


def why_not_flat(model: Any) -> str | None:
    """Return why a model cannot be computed flat, as far as its configuration tells; None: it may be tried."""
    config = model.config.get_text_config()
    if model.config._attn_implementation != "sdpa":
        return f"its attention is {model.config._attn_implementation}, not sdpa"
    if getattr(config, "output_router_logits", False):
        return "its loss balances the load of experts over all tokens of a batch"
    if "chunked_attention" in (getattr(config, "layer_types", None) or ()):
        return "its attention goes by chunks of positions"
    return None


def _forward(fused: Callable[..., Any], flat: Flat) -> Callable[..., Any]:
    head = head_of(fused)

    def forward(self: Any, *args: Any, fused_lm_head: bool = False, labels: Any = None, **kwargs: Any) -> Any:
        given = {name: value for name, value in kwargs.items() if value is not None and value is not False}
        understood = not args and labels is not None and given.keys() <= _READ
        if fused_lm_head and flat.on and understood:
            return flat_forward(
                self, head, given["input_ids"], labels, given.get("attention_mask"), given.get("position_ids")
            )
        if fused_lm_head:
            kwargs["fused_lm_head"] = True
        return fused(*args, labels=labels, **kwargs)

    return forward


def flat_forward(
    model: Any,
    head: Head,
    input_ids: torch.Tensor,
    labels: torch.Tensor,
    attention_mask: torch.Tensor | None = None,
    position_ids: torch.Tensor | None = None,
) -> FusedCausalLMOutput:
    """Return what TRL's fused forward returns for (batch, length) tensors: per-token figures (batch, length - 1).

    Rows are what `attention_mask` shows of each line; or, of a packed batch without one, runs of `position_ids`.
    """
    ids = input_ids.cpu().numpy()
    if attention_mask is None and position_ids is not None:
        columns = _runs(position_ids.cpu().numpy())
    else:
        columns = _shown(ids, attention_mask)
    tokens = ids.reshape(-1)
    layout = lay_out([tokens[here] for here in columns], input_ids.device)
    backbone = model.base_model(
        input_ids=layout.input_ids,
        position_ids=layout.position_ids,
        attention_mask=input_ids.new_zeros(1, 1, 1, 1),  # of four dimensions: taken as it is, and not looked at
        use_cache=False,
        layout=layout,
    )
    places = np.zeros(tokens.shape, dtype=np.int64)
    for here, place in zip(columns, layout.place, strict=True):
        places[here] = place
    next_tokens = labels[:, 1:]
    scored = next_tokens != -100
    read = torch.from_numpy(places.reshape(ids.shape)[:, :-1].copy()).to(labels.device)[scored]
    hidden = backbone.last_hidden_state[0].index_select(0, read)
    found: Any = score(head, model.get_output_embeddings(), hidden, next_tokens[scored])
    spread = {
        name: None if values is None else values.new_zeros(scored.shape).masked_scatter(scored, values)
        for name, values in found.items()
    }
    loss = -found.log_probs.sum() / scored.sum().clamp(min=1)
    return FusedCausalLMOutput(**{**spread, "loss": loss, "label_mask": scored})


def _shown(ids: np.ndarray, attention_mask: torch.Tensor | None) -> list[np.ndarray]:
    """Return, by line, the flat indices of what the mask shows."""
    shown = np.ones(ids.shape, dtype=bool) if attention_mask is None else attention_mask.cpu().numpy() != 0
    length = ids.shape[1]
    return [np.flatnonzero(mask) + line * length for line, mask in enumerate(shown)]


def _runs(positions: np.ndarray) -> list[np.ndarray]:
    """Return the flat indices of each row in a packed batch. Padding, all of position 0, is in none."""
    flat = positions.reshape(-1)
    starts = np.flatnonzero(flat == 0)
    ends = np.append(starts[1:], len(flat))
    return [np.arange(start, end) for start, end in zip(starts, ends, strict=True) if end - start > 1]
