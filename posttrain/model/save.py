"""Writing the finished checkpoint: whole weights as plain safetensors, whatever sharded them while
training."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from posttrain.errors import UserError
from posttrain.model.load import compute_dtype
from posttrain.model.plain import plain_model
from posttrain.model.resolve import Parent
from posttrain.recipe.schema import Model
from posttrain.runs import directory
from posttrain.runs.whole import written_whole

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def save_final(
    trainer: Any,
    tokenizer: PreTrainedTokenizerBase,
    final: Path,
    settings: Model,
    parent: Parent,
    *,
    lineage: list[dict[str, Any]],
) -> None:
    """Write the trained model to `final`: weights, configuration, tokenizer with its template, lineage.json.

    LoRA is merged into a copy of the weights, and the adapter is kept beside it in ``adapter/``; with ``save:
    adapter`` the adapter alone is in `final`. Weights keep the dtype they were trained in, but those that
    were float32 for the optimizer's sake alone, under autocast, are written in the dtype they were used in.
    Each directory appears whole or not at all. Every rank must call this; rank 0 writes.

    Raises UserError when the merged weights are not finite.
    """
    model = trainer.accelerator.unwrap_model(trainer.model)
    adapted = settings.lora is not None
    weights = _gathered(trainer, adapter_only=settings.save == "adapter")
    if trainer.is_world_process_zero():
        if adapted:
            place = final if settings.save == "adapter" else final.with_name(directory.ADAPTER)
            with written_whole(place) as partial:
                _write_adapter(model, weights, partial, parent)
                _write_beside(tokenizer, partial, lineage)
        if settings.save == "merged":
            plain = _plain_copy(model, weights, None if adapted else compute_dtype(settings))
            with written_whole(final) as partial:
                plain.save_pretrained(partial)
                _write_beside(tokenizer, partial, lineage)
    trainer.accelerator.wait_for_everyone()


def _gathered(trainer: Any, *, adapter_only: bool) -> dict[str, torch.Tensor]:
    """Return the whole weights by name, in main memory, on rank 0; nothing on the others. Under ZeRO-3 a
    collective, and with `adapter_only` without the frozen weights."""
    if trainer.is_deepspeed_enabled and trainer.deepspeed.zero_optimization_partition_weights():
        state = trainer.deepspeed._zero3_consolidated_16bit_state_dict(exclude_frozen_parameters=adapter_only)
    elif trainer.is_world_process_zero():
        state = trainer.accelerator.unwrap_model(trainer.model).state_dict()
    else:
        state = None
    return {name: tensor.detach().cpu() for name, tensor in (state or {}).items()}


def _plain_copy(model: Any, weights: dict[str, torch.Tensor], dtype: torch.dtype | None) -> PreTrainedModel:
    """Return an ordinary model that holds `weights`, in `dtype` where one is given, with LoRA merged.

    The copy is an empty shell that takes over the gathered tensors, so nothing is held twice; merging writes
    new tensors. The trainer's model is left as it is.
    """
    import peft
    import torch

    base = plain_model(model)
    config = copy.deepcopy(base.config)
    config.use_cache = True  # the trainer turned it off; a checkpoint without it decodes slowly everywhere
    with torch.device("meta"):
        shell: Any = type(base)(config)
        if isinstance(model, peft.PeftModel):
            shell = peft.get_peft_model(shell, model.peft_config["default"])
    if dtype is not None:
        weights = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in weights.items()}
    _fill(shell, weights)
    if isinstance(shell, peft.PeftModel):
        try:
            shell = shell.merge_and_unload(safe_merge=True)
        except ValueError as error:
            raise UserError(f"the adapter cannot be merged: {error}", fix="lower train.learning_rate") from error
    shell.generation_config = base.generation_config
    return shell


def _fill(shell: Any, weights: dict[str, torch.Tensor]) -> None:
    """Put the tensors in; a tied weight may be there under one of its names."""
    unexpected = shell.load_state_dict(weights, assign=True, strict=False).unexpected_keys
    shell.tie_weights()
    empty = [name for name, parameter in shell.named_parameters() if parameter.is_meta]
    if unexpected or empty:
        raise RuntimeError(f"gathered weights do not fit the model: without a place {unexpected}, missing {empty}")


def _write_adapter(model: Any, weights: dict[str, torch.Tensor], place: Path, parent: Parent) -> None:
    """Write peft's two files, with the parent as the adapter's base."""
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    config = copy.deepcopy(model.peft_config["default"])
    config.base_model_name_or_path, config.revision = _base(parent)
    config.inference_mode = True
    config.save_pretrained(place)
    tensors = get_peft_model_state_dict(model, state_dict=weights, save_embedding_layers=False)
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(contiguous, place / "adapter_model.safetensors", metadata={"format": "pt"})


def _base(parent: Parent) -> tuple[str, str | None]:
    """Return what an adapter calls its base, and the revision: the newest adapter below it, the GGUF file,
    the directory or the hub id."""
    if parent.adapters:
        return parent.adapters[-1].path, parent.adapters[-1].revision
    return str(Path(parent.path) / parent.gguf_file) if parent.gguf_file else parent.path, parent.revision


def _write_beside(tokenizer: PreTrainedTokenizerBase, place: Path, lineage: list[dict[str, Any]]) -> None:
    """Write what goes with either kind of weights."""
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.backend_tokenizer.no_truncation()  # what the last batch was cut and padded to is no part of it
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.save_pretrained(place)
    directory.write_json(place / directory.LINEAGE, lineage)
