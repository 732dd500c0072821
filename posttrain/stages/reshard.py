"""A DeepSpeed checkpoint for another number of ranks: DeepSpeed's universal form of it (arXiv 2406.18820), which has
each parameter's weights and optimizer state whole."""

from __future__ import annotations

import contextlib
import os
import shutil
from argparse import Namespace
from pathlib import Path
from typing import Any

from posttrain.runs import checkpoints
from posttrain.stages.terminal import say


def fits_ranks(checkpoint: Path, processes: int) -> bool:
    """Whether as many ranks as these have written a checkpoint."""
    return bool(checkpoints.facts_of(checkpoint)["ranks"]["processes"] == processes)


def for_these_ranks(trainer: Any, checkpoint: Path) -> Path:
    """Return the checkpoint where this many ranks can read it, else its universal form, aside, and have DeepSpeed
    expect that. All ranks call this."""
    if not trainer.is_deepspeed_enabled:
        return checkpoint
    other = not fits_ranks(checkpoint, trainer.args.world_size)
    expect_universal(trainer, other)
    if not other:
        return checkpoint
    universal = checkpoints.aside_of(checkpoint)
    if trainer.is_world_process_zero():
        before = checkpoints.facts_of(checkpoint)["ranks"]["processes"]
        say(f"{checkpoint.name}: from {before} processes to {trainer.args.world_size}")
        _convert(checkpoint, universal)
    trainer.accelerator.wait_for_everyone()
    return universal


def mend_groups(trainer: Any, universal: Path) -> None:
    """Give each of ZeRO-3's groups its own count of steps and its own settings: DeepSpeed 0.19 reads one tensor for the
    steps of all, which then counts once for each of them, and the first group's weight decay for all."""
    import torch

    if not trainer.is_deepspeed_enabled or not trainer.deepspeed.zero_optimization_partition_weights():
        return
    states = next(universal.glob("global_step*_universal")) / "zero" / "optimizer_state.pt"
    saved = torch.load(states, map_location="cpu", weights_only=True)["param_groups"]
    optimizer = trainer.deepspeed.optimizer.optimizer
    for group, before in zip(optimizer.param_groups, saved, strict=True):
        group.update({name: value for name, value in before.items() if name != "params"})
    for state in optimizer.state.values():
        if torch.is_tensor(state.get("step")):
            state["step"] = state["step"].clone()


def expect_universal(trainer: Any, universal: bool) -> None:
    """Have DeepSpeed's engine, the one that is there or is to come, take what it loads for the universal form."""
    trainer.accelerator.state.deepspeed_plugin.deepspeed_config["checkpoint"] = {"load_universal": universal}
    if getattr(trainer, "deepspeed", None) is not None:
        trainer.deepspeed._config.load_universal_checkpoint = universal


def _convert(checkpoint: Path, universal: Path) -> None:
    from deepspeed.checkpoint import ds_to_universal

    shutil.rmtree(universal, ignore_errors=True)
    universal.mkdir(parents=True)
    for path in checkpoint.iterdir():
        if path.is_file() and path.name != "model.safetensors":  # DeepSpeed reads its own copy of the weights
            shutil.copy2(path, universal / path.name)
    states = next(checkpoint.glob("global_step*"))
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        ds_to_universal.main(
            Namespace(
                input_folder=str(states),
                output_folder=str(universal / f"{states.name}_universal"),
                num_extract_workers=1,
                num_merge_workers=1,
                keep_temp_folder=False,
                strict=True,
                inject_missing_state=True,
            )
        )
