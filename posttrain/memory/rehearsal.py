"""What a pass keeps, counted in a rehearsal: each kind of layer runs forward and backward once on fake tensors.

Every storage that torch makes on the way is added while it lives. Nothing is computed, so rows of any size take a
tenth of a second. Layers of one kind keep the same, so one stands for all.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import DynamicCache
from transformers.modeling_layers import GradientCheckpointingLayer

from posttrain.memory.blueprint import Blueprint


@dataclass(frozen=True)
class Kept:
    """Bytes of activations in a pass of training.

    `saved` is what all layers keep for the way back, `inputs` what is left of that with gradient checkpointing;
    `layer` the most that one layer has at a time on its own way there and back, `work` how much of that it does not
    keep. `copies` are the weights that autocast converted, of all layers, and `layer_copies` of one.
    """

    saved: int
    inputs: int
    layer: int
    work: int
    copies: int
    layer_copies: int


@dataclass(frozen=True)
class _Layer:
    output: Any
    saved: int
    peak: int
    copies: int
    input: int


class Living(TorchDispatchMode):
    """Counts bytes of the storages that were made while it is on: `now`, `peak` and `copies`, those that are
    weights in another dtype, which are not part of the other two."""

    def __init__(self, known: Iterable[Any]) -> None:
        super().__init__()
        self.now = self.peak = self.copies = 0
        self._alive: dict[int, Any] = {_address(tensor): tensor.untyped_storage() for tensor in _tensors(known)}
        self._weights = {key for key, tensor in self._alive.items()}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        is_copy = (
            func is torch.ops.aten._to_copy.default
            and getattr(args[0], "is_leaf", False)
            and _address(args[0]) in self._weights
        )
        for tensor in _tensors(made):
            self._add(tensor, is_copy and isinstance(args[0], torch.nn.Parameter))
        return made

    def _add(self, tensor: Any, is_copy: bool) -> None:
        storage, key = tensor.untyped_storage(), _address(tensor)
        if key in self._alive:
            return
        size = storage.nbytes()
        if is_copy:
            self.copies += size
            size = 0
        self.now += size
        self.peak = max(self.peak, self.now)

        def gone(_: Any) -> None:
            self.now -= size
            self._alive.pop(key, None)

        self._alive[key] = weakref.ref(storage, gone)


def rehearse(blueprint: Blueprint, rows: int, width: int, autocast: torch.dtype | None) -> Kept:
    """Return what a pass of `rows` rows of `width` tokens keeps; `autocast` is the dtype of products, if another.

    Experts in a grouped product are rehearsed in bfloat16 throughout: torch has their shapes in no other dtype.
    """
    layers = _run(blueprint, rows, width, autocast, cached=False)[0]
    embedded = 3 * layers[0].input  # the embeddings' output, and the last norm's in float32
    return Kept(
        saved=sum(layer.saved for layer in layers) + embedded,
        inputs=sum(layer.input for layer in layers) + embedded,
        layer=max(layer.peak for layer in layers),
        work=max(layer.peak - layer.saved for layer in layers),
        copies=sum(layer.copies for layer in layers),
        layer_copies=max(layer.copies for layer in layers),
    )


def cache_bytes(blueprint: Blueprint, rows: int, width: int, autocast: torch.dtype | None) -> int:
    """Return the bytes of keys and values of `rows` rows of `width` tokens; in sliding windows, of the last ones."""
    return rows * _run(blueprint, 1, width, autocast, cached=True)[1]


def _run(
    blueprint: Blueprint, rows: int, width: int, autocast: torch.dtype | None, *, cached: bool
) -> tuple[list[_Layer], int]:
    """Send rows through the model's layers, of each kind the first; return them all, and bytes of the cache."""
    if any(weight.dim() == 3 and weight.dtype != torch.bfloat16 for weight in blueprint.plain.parameters()):
        blueprint, autocast = _in_bfloat16(blueprint), None
    decoder = blueprint.plain.get_decoder()
    layers = [module for module in decoder.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers:  # of a make that names them otherwise: `forecast` says so
        raise NotImplementedError("its layers are not known")
    config = blueprint.plain.config.get_text_config(decoder=True)
    cache = DynamicCache(config=config) if cached else None
    seen: dict[Any, _Layer] = {}
    first_of: dict[Any, int] = {}
    kinds = [_kind(layer, config, index) for index, layer in enumerate(layers)]
    for index, (layer, kind) in enumerate(zip(layers, kinds, strict=True)):
        first_of.setdefault(kind, index)
        layer.forward = _standing_in(layer, kind, seen, cached)
    try:
        with (
            blueprint.mode,
            torch.no_grad(),
            torch.autocast("cpu", autocast or torch.bfloat16, enabled=autocast is not None),
        ):
            ids = torch.ones(rows, width, dtype=torch.long)
            decoder(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=cached, past_key_values=cache)
    finally:
        for layer in layers:
            del layer.forward
    held = 0 if cache is None else sum(_held(cache.layers[first_of[kind]]) for kind in kinds)
    return [seen[kind] for kind in kinds], held


def _in_bfloat16(blueprint: Blueprint) -> Blueprint:
    with blueprint.mode:
        copies: dict[int, Any] = {
            id(weight): torch.nn.Parameter(weight.detach().to(torch.bfloat16), weight.requires_grad)
            for weight in blueprint.model.parameters()
        }
        return replace(blueprint, model=deepcopy(blueprint.model, copies | {id(blueprint.mode): blueprint.mode}))


def _kind(layer: Any, config: Any, index: int) -> Any:
    """Return what layers that keep the same have in common."""
    types = getattr(config, "layer_types", None) or ()
    shapes = tuple((name, tuple(weight.shape), weight.requires_grad) for name, weight in layer.named_parameters())
    return type(layer), types[index] if index < len(types) else None, shapes


def _standing_in(layer: Any, kind: Any, seen: dict[Any, _Layer], cached: bool) -> Callable[..., Any]:
    """Return a forward for the layer that runs the first of its kind and gives the same for all others."""
    own = type(layer).forward

    def forward(hidden: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if kind not in seen:
            run = _sampled if cached else _trained
            seen[kind] = run(layer, lambda x: own(layer, x, *args, **kwargs), hidden, (args, kwargs))
        return seen[kind].output

    return forward


def _sampled(layer: Any, run: Callable[[Any], Any], hidden: torch.Tensor, given: Any) -> _Layer:
    return _Layer(run(hidden), 0, 0, 0, hidden.nbytes)


def _trained(layer: Any, run: Callable[[Any], Any], hidden: torch.Tensor, given: Any) -> _Layer:
    """Run a layer forward and backward, its gradients gone as soon as they are whole: they are counted elsewhere."""
    hooks = [
        weight.register_post_accumulate_grad_hook(_forget) for weight in layer.parameters() if weight.requires_grad
    ]
    start = hidden.detach().requires_grad_()
    living = Living([*layer.parameters(), start, *tree_leaves(given)])
    with torch.enable_grad(), living:
        output = run(start)
        first = next(iter(_tensors(output)))
        saved = living.now
        first.backward(torch.ones_like(first))
    for hook in hooks:
        hook.remove()
    detached = output.detach() if isinstance(output, torch.Tensor) else (first.detach(), *output[1:])
    return _Layer(detached, saved, living.peak, living.copies, hidden.nbytes)


def _forget(weight: torch.Tensor) -> None:
    weight.grad = None


def _held(layer: Any) -> int:
    """Bytes of a layer of a cache, its counters left out."""
    return sum(value.nbytes for value in _tensors(list(vars(layer).values())) if value.dim() > 1)


def _tensors(tree: Any) -> Iterable[torch.Tensor]:
    return (leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor))


def _address(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage()._cdata
