"""Linear layers on a CPU with their weights in the order that oneDNN's matrix product reads them.

A token step multiplies few rows by every weight. PyTorch's own call brings the weights into that order each time,
which for 16 rows costs as much as the product. A packed copy takes as much memory as the weights.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.functional import linear

from posttrain.limits import main_memory

_ROWS = 128  # that the order is chosen for; it is as good for 1 and for 2,048
_PACKED_DTYPES = (torch.float32, torch.bfloat16)


@contextmanager
def packed_linears(model: nn.Module) -> Iterator[None]:
    """Have the model's linear layers multiply by packed copies, where that is possible and memory is free for it.

    Only without gradients: with them, the layers are their own selves. The weights must not change meanwhile.
    """
    layers = [module for module in model.modules() if isinstance(module, nn.Linear) and _can_pack(module)]
    needed = sum(layer.weight.nbytes for layer in layers)
    ranks_here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if 2 * needed * ranks_here > main_memory()[0]:  # what is left over is for the cache
        layers = []
    for layer in layers:
        vars(layer)["forward"] = _forward(layer)  # before the class's own
    try:
        yield
    finally:
        for layer in layers:
            del vars(layer)["forward"]


def _can_pack(layer: nn.Linear) -> bool:
    return bool(
        type(layer) is nn.Linear
        and "forward" not in vars(layer)
        and type(layer.weight) is nn.Parameter  # quantized weights are of other types
        and layer.weight.device.type == "cpu"
        and layer.weight.dtype in _PACKED_DTYPES
        and torch.backends.mkldnn.is_available()
        and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )


def _forward(layer: nn.Linear) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return a forward for the layer that packs its weight when it is first called, in the dtype it is called for."""
    packed: dict[torch.dtype, tuple[Any, Any]] = {}

    def forward(states: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled():
            return linear(states, layer.weight, layer.bias)
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else layer.weight.dtype
        if dtype not in packed:
            weight = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach().to(dtype), _ROWS)
            packed[dtype] = weight, None if layer.bias is None else layer.bias.detach().to(dtype)
        return torch.ops.mkldnn._linear_pointwise(states.to(dtype), *packed[dtype], "none", [], "")

    return forward
