"""Training without padding: rows laid out flat, where the model computes them as it computes a padded batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from posttrain.model.plain import plain_model
from posttrain.stages.job import Job
from posttrain.stages.terminal import say

# By how much a log-probability may differ, since other shapes round otherwise: in float32 at most, in half precision
# in the mean, where a few tokens differ by a quarter. A model that is computed wrongly is off by several at a token.
_SINGLE = 1e-3
_HALF = 0.1


def train_flat(trainer: Any, job: Job) -> None:
    """Have a TRL trainer's models compute its batches flat, if on trial the model gives the same log-probabilities.

    Says so where it cannot be. ``model.attention: sdpa`` asks for TRL's own way. Under DeepSpeed, which places the
    weights when training starts, the trial comes before the first step, and until then batches are computed padded.
    """
    from posttrain.forward.rows import why_not_flat

    if job.recipe.model.attention != "auto":
        return
    models = [plain_model(model) for model in (trainer.model, getattr(trainer, "ref_model", None)) if model is not None]
    if why := next(filter(None, map(why_not_flat, models)), None):
        say(f"computed with padding: {why}")
        return
    switches = [_installed(trainer, model) for model in models]
    if trainer.is_deepspeed_enabled:
        _turn(switches, on=False)
        trainer.add_callback(_trial(trainer, switches))
    else:
        _try(trainer, trainer.model, switches)


def _installed(trainer: Any, model: Any) -> Any:
    """Have a model compute flat; return its switch. A reference has its autocast around its forward already."""
    from posttrain.forward.rows import compute_flat

    under_autocast = "_original_forward" in vars(model)
    if under_autocast:
        model.forward = model._original_forward
    flat = compute_flat(model)
    if under_autocast:
        trainer.accelerator.prepare_model(model, evaluation_mode=True)
    return flat


def _trial(trainer: Any, switches: list[Any]) -> Any:
    from transformers import TrainerCallback

    class Trial(TrainerCallback):
        def on_train_begin(self, args, state, control, **_: Any):
            _try(trainer, trainer.model_wrapped, switches)

    return Trial()


def _turn(switches: list[Any], *, on: bool) -> None:
    for switch in switches:
        switch.on = on


def _try(trainer: Any, model: Any, switches: list[Any]) -> None:
    """Turn the switches on, or off where `model`, which the first is of, then has other log-probabilities."""
    import torch

    config, half = trainer.model.config, trainer.model.dtype != torch.float32
    found = trial_batch(trainer.processing_class.pad_token_id, config.get_text_config().vocab_size)
    batch = {name: tensor.to(trainer.accelerator.device) for name, tensor in found.items()}

    def log_probs(*, flat: bool) -> torch.Tensor:
        _turn(switches, on=flat)
        return model(**batch, use_cache=False, fused_lm_head=True).log_probs.float()

    # Float32 weights are tried in float32, also where training rounds to half precision on the way.
    with _evaluating(trainer.model), torch.no_grad(), torch.autocast(trainer.accelerator.device.type, enabled=False):
        try:
            differences = (log_probs(flat=False) - log_probs(flat=True)).abs()[batch["labels"][:, 1:] != -100]
            difference = (differences.mean() if half else differences.max()).item()
            why = f"laid out flat, the model's log-probabilities differ by {difference:.2g}"
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # whatever a model of another make raises: padded, it can be trained
            difference, why = float("inf"), f"the model does not take rows laid out flat ({error})"
    if not difference <= (_HALF if half else _SINGLE):
        _turn(switches, on=False)
        say(f"computed with padding: {why}")


@contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


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
