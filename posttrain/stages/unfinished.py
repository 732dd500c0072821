"""What a trainer is in the middle of at a step's end, and transformers does not save: sums that are not logged yet, and
completions that further steps are to be trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_SUMS = ("_total_train_tokens", "_globalstep_last_logged", "_step")


def write_unfinished(trainer: Any, checkpoint: Path) -> None:
    """Write what this rank is in the middle of into a checkpoint."""
    import torch

    found = {name: getattr(trainer, name) for name in _SUMS if hasattr(trainer, name)}
    found["loss"] = trainer._tr_loss.detach().cpu()
    found["metrics"] = {name: list(values) for name, values in trainer._metrics["train"].items()}
    if _is_between_draws(trainer):
        found["completions"] = trainer._buffered_inputs
    torch.save(found, _file(checkpoint, trainer.args.process_index))


def read_unfinished(trainer: Any, checkpoint: Path) -> None:
    """Give this rank back what it was in the middle of. One that the checkpoint does not know takes the first's sums;
    what was drawn for another number of ranks is drawn anew."""
    import torch

    from posttrain.runs.checkpoints import facts_of

    before, now = facts_of(checkpoint)["ranks"]["processes"], trainer.args.world_size
    rank = trainer.args.process_index if before == now else 0
    found = torch.load(_file(checkpoint, rank), map_location=trainer.args.device, weights_only=True)
    trainer._tr_loss += found.pop("loss")
    trainer._metrics["train"].update(found.pop("metrics"))
    completions = found.pop("completions", None)
    if before == now:
        trainer._buffered_inputs = completions
    else:
        found.pop("_step", None)
    for name, value in found.items():
        setattr(trainer, name, value)


def _is_between_draws(trainer: Any) -> bool:
    """Whether completions were drawn that further steps train on (TRL's ``_prepare_inputs``)."""
    if getattr(trainer, "_buffered_inputs", None) is None:
        return False
    return bool(trainer._step % (trainer.args.steps_per_generation * trainer.num_iterations))


def _file(checkpoint: Path, rank: int) -> Path:
    return checkpoint / f"unfinished_{rank}.pt"
