"""The vocabulary projection, at the positions whose next token is scored and nowhere else."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from trl.kernels.chunked_logprob import ChunkedLogProbFunction
from trl.trainer.utils import FusedCausalLMOutput, maybe_gather_lm_head_ctx

from posttrain.forward.tiles import MOST_KEPT, PIECE

_VOCABULARY = 32_768  # columns of one tile of TRL's, on a GPU


@dataclass(frozen=True)
class Head:
    """What TRL asked of the fused LM head that it gave a model."""

    temperature: float
    outputs: tuple[str, ...]
    cast_lm_head_to_fp32: bool
    final_logit_softcapping: float | None
    logit_scale: float


def head_of(fused_forward: Callable[..., Any]) -> Head:
    """Return the settings of the forward that TRL's ``add_fused_lm_head`` made; they are kept in it alone."""
    kept = inspect.getclosurevars(inspect.unwrap(fused_forward, stop=lambda f: bool(f.__closure__))).nonlocals
    return Head(**{name: kept[name] for name in Head.__dataclass_fields__})


def score(head: Head, lm_head: Any, hidden: torch.Tensor, targets: torch.Tensor) -> FusedCausalLMOutput:
    """Return TRL's per-token figures, each (positions,), of `hidden` (positions, width) and the tokens that follow."""
    weight, bias = lm_head.weight, lm_head.bias
    hidden = hidden.to(weight.device)
    targets = targets.to(weight.device)
    device = weight.device.type
    uncast = head.cast_lm_head_to_fp32
    if uncast:
        hidden = hidden.float()
    plain = device == "cpu" and bias is None and head.final_logit_softcapping is None
    with torch.autocast(device, enabled=False) if uncast else nullcontext(), maybe_gather_lm_head_ctx(weight, bias):
        if plain:
            values = _LogProbs.apply(hidden, weight, targets, head.logit_scale / head.temperature, head.outputs)
        else:
            values = ChunkedLogProbFunction.apply(
                hidden,
                weight,
                bias,
                targets,
                head.temperature,
                _VOCABULARY,
                head.final_logit_softcapping,
                head.logit_scale,
                head.outputs,
            )
    names = ("log_probs", "entropy", "log_sum_sq_probs", "mean_logits", "is_top1")
    return FusedCausalLMOutput(**dict(zip(names, values, strict=True)))


class _LogProbs(torch.autograd.Function):
    """Log-probabilities on a CPU, with what TRL's kernel gives besides.

    TRL's kernel computes the logits anew in the backward pass. Here the probabilities are kept while they are small
    enough: of p = softmax(s x), d log p_t / dx = s (1[t] - p) and dH/dx = -s p (log p + H).
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        targets: torch.Tensor,
        scale: float,
        wanted: tuple[str, ...],
    ) -> tuple[torch.Tensor | None, ...]:
        ctx.set_materialize_grads(False)
        autocast = torch.is_autocast_enabled("cpu")
        dtype = torch.get_autocast_dtype("cpu") if autocast else hidden.dtype
        inputs, projection = hidden.to(dtype), weight.to(dtype)
        count = len(targets)
        found = {name: torch.empty(count) for name in ("log_probs", *wanted) if name != "is_top1"}
        if "is_top1" in wanted:
            found["is_top1"] = torch.empty(count, dtype=torch.bool)
        keep = any(ctx.needs_input_grad[:2]) and count * len(weight) * 4 <= MOST_KEPT
        probabilities = []
        log_z = torch.empty(count)
        for start in range(0, count, PIECE):
            here = slice(start, start + PIECE)
            logits = _logits(inputs[here], projection, scale)
            log_z[here] = _describe(logits, targets[here], {name: values[here] for name, values in found.items()})
            if keep:
                probabilities.append(logits.sub_(log_z[here, None]).exp_())
        entropy = found.get("entropy")
        ctx.save_for_backward(hidden, weight, targets, log_z, entropy)
        ctx.probabilities, ctx.scale, ctx.dtype = probabilities, scale, dtype
        names = ("log_probs", "entropy", "log_sum_sq_probs", "mean_logits", "is_top1")
        ctx.mark_non_differentiable(*(found[name] for name in names[2:] if name in found))
        return tuple(found.get(name) for name in names)

    @staticmethod
    def backward(ctx: Any, grad_log_probs: Any, grad_entropy: Any, *_: Any) -> tuple[Any, ...]:
        hidden, weight, targets, log_z, entropy = ctx.saved_tensors
        bias: Any = None
        if grad_log_probs is None and grad_entropy is None:
            return None, None, None, None, None
        inputs = hidden.to(ctx.dtype)
        with maybe_gather_lm_head_ctx(weight, bias):
            projection = weight.to(ctx.dtype)
            grad_hidden = torch.empty(hidden.shape) if ctx.needs_input_grad[0] else None
            grad_weight = torch.zeros(weight.shape) if ctx.needs_input_grad[1] else None
            for number, start in enumerate(range(0, len(targets), PIECE)):
                here = slice(start, start + PIECE)
                if ctx.probabilities:
                    p = ctx.probabilities[number]
                    ctx.probabilities[number] = None
                else:
                    p = _logits(inputs[here], projection, ctx.scale).sub_(log_z[here, None]).exp_()
                if grad_entropy is not None:
                    # log p + H, before p becomes the gradient
                    bonus = torch.special.xlogy(p, p).addcmul_(p, entropy[here, None]).mul_(grad_entropy[here, None])
                if grad_log_probs is not None:
                    p.mul_(-grad_log_probs[here, None])
                    p[torch.arange(len(p)), targets[here]] += grad_log_probs[here]
                else:
                    p.zero_()
                if grad_entropy is not None:
                    p.sub_(bonus)
                if ctx.scale != 1:
                    p.mul_(ctx.scale)
                if grad_hidden is not None:
                    grad_hidden[here] = p.to(ctx.dtype) @ projection
                if grad_weight is not None:
                    # In float32 also under autocast: sums of pieces rounded to bfloat16 would be biased.
                    grad_weight.addmm_(p.t(), hidden[here].float())
        ctx.probabilities = []
        return (
            None if grad_hidden is None else grad_hidden.to(hidden.dtype),
            None if grad_weight is None else grad_weight.to(weight.dtype),
            None,
            None,
            None,
        )


def _logits(hidden: torch.Tensor, weight: torch.Tensor, scale: float) -> torch.Tensor:
    logits = (hidden @ weight.t()).float()
    return logits if scale == 1 else logits.mul_(scale)


def _describe(logits: torch.Tensor, targets: torch.Tensor, found: dict[str, torch.Tensor]) -> torch.Tensor:
    """Fill in what is wanted of `logits` (positions, vocabulary); return each softmax's log denominator."""
    log_z = logits.logsumexp(-1)
    chosen = logits.gather(-1, targets[:, None])[:, 0]
    found["log_probs"].copy_(chosen - log_z)
    if "entropy" in found:  # log Z - sum p x
        found["entropy"].copy_(log_z - torch.linalg.vecdot((logits - log_z[:, None]).exp_(), logits))
    if "log_sum_sq_probs" in found:
        found["log_sum_sq_probs"].copy_((2 * logits).logsumexp(-1) - 2 * log_z)
    if "mean_logits" in found:
        found["mean_logits"].copy_(logits.mean(-1))
    if "is_top1" in found:  # of equal ones the first counts, as in argmax
        found["is_top1"].copy_(logits.argmax(-1) == targets)
    return log_z
