"""How far the log-probabilities that a completion was drawn by are from those that the trainer computes of it.

In float32 they differ by rounding. In half precision the sampler, which sees one token at a time, and the trainer,
which sees them all, are two policies that differ a little, and the ratio of GRPO's loss is to be taken to the one that
drew (off-policy correction, bounded by the loss's own clipping: the "bypass" form of importance sampling).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from posttrain.errors import UserError

ANOTHER_MODEL = 1.0
"""Nats a token, in the mean. Kernels in bfloat16 differ by hundredths; an engine whose weights are not the trainer's,
by several."""


def log_difference(trainer: Any, batch: Mapping[str, Any], logps: Any, *, limit: float | None = None) -> None:
    """Log the mean and largest absolute difference over the batch's tokens, under TRL's names, of all ranks.

    Raises UserError, in all ranks, where the mean is above the `limit`.
    """
    mask = batch["completion_mask"].bool()
    difference = (logps - batch["sampling_per_token_logps"]).abs()[mask]
    if not difference.numel():
        difference = logps.new_zeros(1)
    gathered = trainer.accelerator.gather
    metrics = trainer._metrics["train"]
    mean = gathered(difference.mean()).mean().item()
    metrics["sampling/sampling_logp_difference/mean"].append(mean)
    metrics["sampling/sampling_logp_difference/max"].append(gathered(difference.max()).max().item())
    if limit is not None and mean > limit:
        raise UserError(
            f"the engine's log-probabilities are {mean:.2f} nats a token from the trainer's: it runs another model",
            where="rollout.engine",
            fix="use transformers",
        )


def with_sampler_as_old(trainer: Any, batch: dict[str, Any]) -> dict[str, Any]:
    """Return the batch with the sampler's log-probabilities as the old ones where they differ by more than rounding:
    in half precision. Not where a loss takes one ratio of a whole completion (GSPO, VESPO): their clipping is narrower
    than what the differences of its tokens add up to."""
    by_token = trainer.importance_sampling_level == "token" and trainer.loss_type != "vespo"
    if by_token and (trainer.args.bf16 or trainer.args.fp16):
        return {**batch, "old_per_token_logps": batch["sampling_per_token_logps"]}
    return batch
