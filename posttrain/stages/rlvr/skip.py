"""Rows whose advantage is 0 add nothing to a loss nor to its gradients, so the model need not run on them.

All rows of a group whose rewards are equal are such rows (GRPO, arXiv 2402.03300, section 4.1: an advantage is what a
reward is above its group's mean), and so are rows without a token that the loss reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

_PROMPT = ("prompt_ids", "prompt_mask")


def why_all_rows(trainer: Any) -> str:
    """Return which setting makes a GRPO trainer's loss read rows of advantage 0 too; nothing, if none does."""
    if trainer.beta:
        return "train.beta: the KL penalty counts in every row"
    if trainer._entropy_bonus_enabled:
        return "the entropy bonus counts in every row"
    if trainer.top_entropy_quantile < 1:
        return "train.top_entropy_quantile ranks the tokens of all rows"
    if trainer.aux_loss_enabled:
        return "the router's loss counts in every row"
    return ""


def counting(batch: Mapping[str, Any]) -> torch.Tensor:
    """Return, for each row, whether it has an advantage and a token that the loss reads."""
    advantages = batch["advantages"]
    return (advantages.reshape(len(advantages), -1) != 0).any(-1) & (_loss_mask(batch) != 0).any(-1)


def only(batch: Mapping[str, Any], counts: torch.Tensor, rows: int, *, trim: bool = True) -> dict[str, Any]:
    """Return a batch of `rows` of these rows: those that count, filled up with others, in their own order.

    With `trim`, columns go that are padding in all of them, before the prompts and after the completions.
    """
    kept = counts.int().argsort(descending=True, stable=True)[:rows].sort().values
    width = batch["completion_ids"].shape[1]
    found = {
        key: value[kept] if getattr(value, "ndim", 0) and len(value) == len(counts) else value
        for key, value in batch.items()
    }
    if not trim:
        return found
    first = int(found["prompt_mask"].any(0).int().argmax())
    used = found["completion_mask"].any(0).nonzero()
    end = int(used.max()) + 1 if len(used) else 1
    for key, value in found.items():
        if key in _PROMPT:
            found[key] = value[:, first:]
        elif getattr(value, "ndim", 0) == 2 and value.shape[1] == width:
            found[key] = value[:, :end]
    return found


def share(batch: Mapping[str, Any], kept: Mapping[str, Any], loss_type: str) -> torch.Tensor | float:
    """Return what TRL's loss of `kept` is multiplied by to be its loss of `batch`, of which the other rows add 0.

    Losses over all tokens of the generation batch are divided by a number that both have; the others by their own
    count, of tokens in bnpo, else of rows.
    """
    if loss_type in ("dapo", "cispo", "vespo"):
        return 1.0
    if loss_type == "bnpo":
        tokens, of = (_loss_mask(rows).sum().clamp(min=1) for rows in (kept, batch))
        return tokens / of
    return len(kept["advantages"]) / len(batch["advantages"])


def _loss_mask(batch: Mapping[str, Any]) -> torch.Tensor:
    mask: torch.Tensor = batch["completion_mask"]
    return mask * batch["tool_mask"] if "tool_mask" in batch else mask
