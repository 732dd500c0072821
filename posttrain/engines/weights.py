"""A model's weights as its checkpoint has them, for an engine that runs a copy of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from posttrain.model.plain import plain_model

if TYPE_CHECKING:
    import torch


def checkpoint_weights(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield each weight under its name in a checkpoint. Adapters are merged into copies, a layer at a time: the model
    stays as it is, to the last bit. Under ZeRO-3 the caller has gathered it."""
    import torch
    from transformers.core_model_loading import revert_weight_conversion

    base = plain_model(model)
    with torch.no_grad():
        if getattr(base, "_weight_conversions", None):  # such as experts, which transformers keeps in one tensor
            yield from revert_weight_conversion(base, dict(_plain(base))).items()
        else:
            yield from _plain(base)


def _plain(base: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the weights by the names of the model without adapters; tied ones once."""
    from peft import LoraModel
    from peft.tuners.lora import LoraLayer

    adapted = {
        f"{name}.base_layer.weight": module for name, module in base.named_modules() if _adapts(module, LoraLayer)
    }
    for name, weight in base.named_parameters():
        if f".{LoraModel.prefix}" in name:
            continue
        layer = adapted.get(name)
        yield name.replace(".base_layer.", "."), weight.detach() if layer is None else _merged(layer)


def _adapts(module: Any, kind: type) -> bool:
    return isinstance(module, kind) and hasattr(module, "base_layer")


def _merged(layer: Any) -> torch.Tensor:
    """Return a copy of the layer's weight with its adapters in it. Taking them out again would leave rounding errors
    behind, so what was there is put back."""
    weight = layer.get_base_layer().weight
    place = weight.data
    before = place.clone()
    layer.merge()
    merged: torch.Tensor = weight.data.clone()
    layer.unmerge()
    weight.data = place.copy_(before)
    return merged
