"""Drawing tokens: each row by its own random numbers, one a token."""

from __future__ import annotations

import torch

_FIRST_LOOK = 256  # a nucleus is rarely larger, and sorting a whole vocabulary costs more than a layer
_BLOCK = 256  # tokens that are summed up together


def uniforms(seed: int, count: int) -> torch.Tensor:
    """Return `count` numbers in [0, 1) that only `seed` decides; fewer of them are the same ones. No random state
    but their own is touched."""
    return torch.rand(count, generator=torch.Generator().manual_seed(seed))


def draw(
    logits: torch.Tensor, uniform: torch.Tensor, *, temperature: float, top_p: float, logprobs: bool = False
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return a token a row, by inverting the cumulative distribution at the row's number, and if asked its ln p.

    `logits` is (rows, vocabulary), `uniform` (rows,). Temperature comes before the nucleus, as in transformers;
    temperature 0 takes the most likely token and no number. Tokens stand in the order of their ids, so that
    rounding, which may exchange two equally likely ones in a sorted order, moves no draw. ln p is in float32, and of
    the whole distribution at this temperature (at 1, if it is 0).
    """
    if temperature == 0:
        logits = logits.float()  # three times as fast as in bfloat16 on a CPU
        tokens = logits.argmax(-1)
        return tokens, logits.log_softmax(-1).gather(-1, tokens[:, None])[:, 0] if logprobs else None
    scaled = logits.float() if temperature == 1 else logits.float() / temperature
    weights = torch.softmax(scaled, -1)
    tokens = _invert(nucleus(weights, top_p) if top_p < 1 else weights, uniform)
    return tokens, weights.gather(-1, tokens[:, None])[:, 0].log() if logprobs else None


def _invert(weights: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """Return the first token of each row up to which the weights sum to more than the row's share of their total.

    First its block is found, by the blocks' sums, and then its place in the block: to sum a whole vocabulary in order
    takes longer than the softmax.
    """
    size = weights.shape[-1]
    even = size - size % _BLOCK
    sums = weights[:, :even].unflatten(-1, (-1, _BLOCK)).sum(-1) if even else weights[:, :0]
    cumulative = torch.cat([sums, weights[:, even:].sum(-1, keepdim=True)], -1).cumsum(-1)
    target = _below(uniform[:, None] * cumulative[:, -1:], cumulative)
    block = torch.searchsorted(cumulative, target, right=True)
    before = cumulative.gather(-1, (block - 1).clamp(min=0)).where(block > 0, 0.0)
    ids = block * _BLOCK + torch.arange(_BLOCK, device=weights.device)
    inside = weights.gather(-1, ids.clamp(max=size - 1)).where(ids < size, 0.0).cumsum(-1)
    place = torch.searchsorted(inside, _below(target - before, inside), right=True)
    return (block * _BLOCK + place)[:, 0]


def _below(target: torch.Tensor, cumulative: torch.Tensor) -> torch.Tensor:
    """Return the target, strictly below the total: the first token that exceeds it then has weight."""
    total = cumulative[:, -1:]
    return torch.minimum(target, torch.nextafter(total, torch.zeros_like(total)))


def nucleus(weights: torch.Tensor, top_p: float) -> torch.Tensor:
    """Return `weights` with 0 outside each row's nucleus: the fewest most likely tokens that together reach `top_p`
    (Holtzman et al. 2019, arXiv 1904.09751, section 3.1). Rows of `weights` sum to 1."""
    size = min(_FIRST_LOOK, weights.shape[-1])
    largest, where = weights.topk(size, -1)
    kept = _kept(weights, largest, where, top_p)
    wide = largest.sum(-1) < top_p
    if size < weights.shape[-1] and bool(wide.any()):
        kept[wide] = _kept(weights[wide], *weights[wide].sort(-1, descending=True), top_p)
    return kept


def _kept(weights: torch.Tensor, largest: torch.Tensor, where: torch.Tensor, top_p: float) -> torch.Tensor:
    """Return `weights` with 0 wherever the larger ones before it reach `top_p`, and in what is not in `largest`."""
    before = largest.cumsum(-1) - largest
    return torch.zeros_like(weights).scatter(-1, where, largest.where(before < top_p, 0.0))
