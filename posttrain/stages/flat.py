"""Training without padding: rows laid out flat, where the model computes them as it computes a padded batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from posttrain.stages.job import Job
from posttrain.stages.terminal import say

# By how much a log-probability may differ: other shapes round otherwise.
_SINGLE = 1e-3
_HALF = 1e-1


def train_flat(trainer: Any, job: Job) -> None:
    """Have a TRL trainer's models compute its batches flat, and try that on the real model before the first step.

    Says so where it cannot be. ``model.attention: sdpa`` asks for TRL's own way.
    """
    from posttrain.forward.rows import compute_flat, why_not_flat

    if job.recipe.model.attention != "auto":
        return
    models = [_plain(model) for model in (trainer.model, getattr(trainer, "ref_model", None)) if model is not None]
    if why := next(filter(None, map(why_not_flat, models)), None):
        say(f"computed with padding: {why}")
        return
    trainer.add_callback(_agreement(trainer, [compute_flat(model) for model in models]))


def _plain(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _agreement(trainer: Any, switches: list[Any]) -> Any:
    """Return a callback that goes back to TRL's way when the model's log-probabilities are others when flat."""
    from transformers import TrainerCallback

    class Agreement(TrainerCallback):
        def on_train_begin(self, args, state, control, **_: Any):
            why = _why_different(trainer, switches)
            if why:
                for switch in switches:
                    switch.on = False
                say(f"computed with padding: {why}")

    return Agreement()


def _why_different(trainer: Any, switches: list[Any]) -> str | None:
    import torch

    args, model = trainer.args, trainer.model
    half = args.bf16 or args.fp16 or model.dtype != torch.float32
    found = trial_batch(trainer.processing_class.pad_token_id, model.config.get_text_config().vocab_size)
    batch = {name: tensor.to(trainer.accelerator.device) for name, tensor in found.items()}

    def log_probs() -> torch.Tensor:
        with torch.no_grad(), trainer.compute_loss_context_manager():
            return trainer.model_wrapped(**batch, use_cache=False, fused_lm_head=True).log_probs.float()

    was_training = model.training
    model.eval()
    try:
        with switches[0].off():
            padded = log_probs()
        flat = log_probs()
    except (TypeError, NotImplementedError) as error:  # a model without the keyword, or with another attention
        return f"the model does not take rows laid out flat ({error})"
    finally:
        model.train(was_training)
    difference = (padded - flat).abs().max().item()
    if difference > (_HALF if half else _SINGLE):
        return f"laid out flat, the model's log-probabilities differ by {difference:.2g}"
    return None


def trial_batch(pad: int, vocabulary: int) -> Mapping[str, Any]:
    """Return a padded batch of four rows, two of which begin alike, all of it scored; its tokens are arbitrary."""
    import torch

    draw = torch.Generator().manual_seed(0)
    begin, *ends = (torch.randint(vocabulary, (n,), generator=draw) for n in (20, 7, 12, 24, 3))
    rows = [torch.cat([begin, ends[0]]), torch.cat([begin, ends[1]]), ends[2], ends[3]]
    width = max(map(len, rows))
    ids = torch.full((len(rows), width), pad)
    mask = torch.zeros_like(ids)
    for line, row in enumerate(rows):
        ids[line, : len(row)], mask[line, : len(row)] = row, 1
    return {"input_ids": ids, "attention_mask": mask, "labels": ids.masked_fill(mask == 0, -100)}
