"""What a trainer is in the middle of at a step's end, and transformers does not save: sums that are not logged yet, and
completions that further steps are to be trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from posttrain.stages.reshard import fits_ranks

SUMS = ("_total_train_tokens", "_globalstep_last_logged", "_step")
"""Attributes of TRL's trainers that count on over steps."""
_REFERENCE = "reference.safetensors"


def write_unfinished(trainer: Any, checkpoint: Path) -> None:
    """Write what this rank is in the middle of into a checkpoint, and a reference that follows the model."""
    import torch
    from safetensors.torch import save_model

    found = {name: getattr(trainer, name) for name in SUMS if hasattr(trainer, name)}
    found["loss"] = trainer._tr_loss.detach().cpu()
    found["metrics"] = {name: list(values) for name, values in trainer._metrics["train"].items()}
    if _is_between_draws(trainer):
        found["completions"] = trainer._buffered_inputs
    torch.save(found, _file(checkpoint, trainer.args.process_index))
    if getattr(trainer.args, "sync_ref_model", False) and trainer.is_world_process_zero():
        save_model(trainer.accelerator.unwrap_model(trainer.ref_model), str(checkpoint / _REFERENCE))


def read_unfinished(trainer: Any, checkpoint: Path) -> None:
    """Give this rank back what it was in the middle of. One that the checkpoint does not know takes the first's sums;
    what was drawn for another number of ranks is drawn anew."""
    import torch
    from accelerate.utils import send_to_device
    from safetensors.torch import load_model

    same = fits_ranks(checkpoint, trainer.args.world_size)
    rank = trainer.args.process_index if same else 0
    found = torch.load(_file(checkpoint, rank), map_location="cpu", weights_only=True)
    found = send_to_device(found, trainer.args.device)
    trainer._tr_loss += found.pop("loss")
    trainer._metrics["train"].update(found.pop("metrics"))
    completions = found.pop("completions", None)
    if same:
        trainer._buffered_inputs = completions
    else:
        found.pop("_step", None)
    for name, value in found.items():
        setattr(trainer, name, value)
    if getattr(trainer.args, "sync_ref_model", False):
        load_model(trainer.accelerator.unwrap_model(trainer.ref_model), checkpoint / _REFERENCE)


def _is_between_draws(trainer: Any) -> bool:
    """Whether completions were drawn that further steps train on (TRL's ``_prepare_inputs``)."""
    if getattr(trainer, "_buffered_inputs", None) is None:
        return False
    return bool(trainer._step % (trainer.args.steps_per_generation * trainer.num_iterations))


def _file(checkpoint: Path, rank: int) -> Path:
    return checkpoint / f"unfinished_{rank}.pt"
