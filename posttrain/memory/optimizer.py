"""What an optimizer keeps of each trained parameter, by transformers' names (`train.optim`)."""

from __future__ import annotations

from collections.abc import Sequence

DEFAULT = "adamw_torch_fused"
_SMALLEST_8BIT = 4096  # parameters of a tensor below which bitsandbytes keeps 32-bit states
_BLOCK_8BIT = 256  # parameters that share one float32 scale
_TORCHAO_BLOCKS = {"adamw_torch_8bit": (1.0, 256), "adamw_torch_4bit": (0.5, 128)}

# States in float32 a parameter: Adam's two moments, AdEMAMix's three averages (arXiv 2409.03137), one elsewhere.
_STATES = {
    "adamw_torch": 2,
    "adamw_torch_fused": 2,
    "paged_adamw_32bit": 2,
    "stable_adamw": 2,
    "grokadamw": 3,
    "ademamix": 3,
    "paged_ademamix_32bit": 3,
    "lion_32bit": 1,
    "paged_lion_32bit": 1,
    "rmsprop": 1,
    "rmsprop_bnb": 1,
    "rmsprop_bnb_32bit": 1,
    "adagrad": 1,
    "sgd": 0,
    "lomo": 0,
}
_STATES_8BIT = {
    "adamw_bnb_8bit": 2,
    "adamw_8bit": 2,
    "paged_adamw_8bit": 2,
    "ademamix_8bit": 3,
    "paged_ademamix_8bit": 3,
    "lion_8bit": 1,
    "paged_lion_8bit": 1,
    "rmsprop_bnb_8bit": 1,
}


def is_known(optim: str) -> bool:
    """Whether `state_bytes` knows the optimizer; another is counted as AdamW."""
    return optim in _STATES or optim in _STATES_8BIT or optim in _TORCHAO_BLOCKS or optim == "adafactor"


def is_paged(optim: str) -> bool:
    """Whether the states may move to main memory when the GPU's runs out."""
    return optim.startswith("paged_")


def state_bytes(optim: str, shapes: Sequence[Sequence[int]], *, embedded: int = 0, itemsize: int = 4) -> int:
    """Return the bytes of the states of parameters of these shapes, `itemsize` bytes a number each.

    `embedded` of them belong to embeddings, which transformers has 8-bit optimizers keep in 32 bits. Adafactor keeps
    a matrix's rows and columns (arXiv 1804.04235, section 3), without momentum as transformers sets it up.
    """
    sizes = [_product(shape) for shape in shapes]
    if optim == "adafactor":
        return 4 * sum(_factored(shape) for shape in shapes)
    if optim in _TORCHAO_BLOCKS:
        width, block = _TORCHAO_BLOCKS[optim]
        small = [size for size in sizes if size < _SMALLEST_8BIT or size % block]
        return int(2 * (4 * sum(small) + (sum(sizes) - sum(small)) * (width + 4 / block)))
    if optim in _STATES_8BIT:
        whole = sum(size for size in sizes if size < _SMALLEST_8BIT) + embedded
        return int(_STATES_8BIT[optim] * (4 * whole + (sum(sizes) - whole) * (1 + 4 / _BLOCK_8BIT)))
    own = itemsize if optim.startswith(("adamw_torch", "sgd", "adagrad", "rmsprop")) else 4
    return _STATES.get(optim, 2) * own * sum(sizes)


def step_bytes(optim: str, shapes: Sequence[Sequence[int]], *, on_gpu: bool) -> int:
    """Return the bytes that one step needs beside the states: AdamW in several calls on a GPU (``foreach``) writes out
    a tensor of all parameters' size, Adafactor and the unfused loop two of the largest parameter's."""
    sizes = [_product(shape) for shape in shapes]
    if optim == "adamw_torch" and on_gpu:
        return 4 * sum(sizes)
    return 8 * max(sizes, default=0) if optim in ("adamw_torch", "adafactor") else 0


def _factored(shape: Sequence[int]) -> int:
    return _product(shape[:-1]) + _product(shape[:-2]) * shape[-1] if len(shape) > 1 else _product(shape)


def _product(shape: Sequence[int]) -> int:
    product = 1
    for size in shape:
        product *= size
    return product
