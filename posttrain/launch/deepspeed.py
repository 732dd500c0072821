"""DeepSpeed: its configuration from a recipe's launch section, and its start without noise or compilers."""

from __future__ import annotations

import os
import shutil
from datetime import timedelta
from typing import Any

from posttrain.recipe.schema import Launch

# In elements. DeepSpeed's own 5e8 takes gigabytes beside a model of any size.
_BUCKET = 50_000_000


def deepspeed_config(launch: Launch, *, dtype: str) -> dict[str, Any]:
    """Return the configuration for ``TrainingArguments(deepspeed=...)``; empty for zero 0.

    Data parallelism without sharding is left to PyTorch: DeepSpeed's stage 0 computes in other dtypes than
    one process does, and logs no gradient norm. `dtype` (``float32``, ``bfloat16`` or ``float16``) must say
    the same as TrainingArguments' bf16 and fp16. "auto" is what TrainingArguments fills in, so the two agree.
    """
    if launch.zero == 0:
        return {}
    return {
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "bf16": {"enabled": dtype == "bfloat16"},
        "fp16": {"enabled": dtype == "float16"},
        "zero_allow_untested_optimizer": True,  # any of transformers' `optim`
        "zero_force_ds_cpu_optimizer": _compiles_cpu_adam(),
        "zero_optimization": _zero(launch),
    }


def _zero(launch: Launch) -> dict[str, Any]:
    """Return the zero_optimization section (ZeRO, arXiv 1910.02054; offload, arXiv 2101.06840)."""
    section: dict[str, Any] = {
        "stage": launch.zero,
        "reduce_bucket_size": _BUCKET,
        "allgather_bucket_size": _BUCKET,
        "contiguous_gradients": True,
    }
    if launch.zero == 3:
        section |= {
            "stage3_param_persistence_threshold": "auto",  # ten times the hidden size
            "stage3_prefetch_bucket_size": "auto",
            "stage3_gather_16bit_weights_on_model_save": True,  # else final/ would hold no weights
        }
    place = {"device": "cpu", "pin_memory": _on_gpu()}
    if "optimizer" in launch.offload:
        section["offload_optimizer"] = place
    if "parameters" in launch.offload:
        section["offload_param"] = place
    return section


def _on_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _compiles_cpu_adam() -> bool:
    """Whether an offloaded optimizer is DeepSpeed's CPUAdam, which it compiles; else it is PyTorch's, a few
    times slower. Without a GPU nothing is gained by it."""
    return _on_gpu() and bool(shutil.which("g++") and shutil.which("ninja"))


def read_without_code() -> None:
    """Have PyTorch read every file in this process as data alone, also where DeepSpeed asks for pickles that may run
    code; its own classes in its checkpoints are let through."""
    import torch
    from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler, LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    os.environ.pop("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", None)
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
    torch.serialization.add_safe_globals([DynamicLossScaler, LossScaler, ZeroStageEnum, fragment_address])


def join_deepspeed(*, timeout: timedelta) -> None:
    """Give DeepSpeed torch.distributed's process group, so that ZeRO-3 sees all ranks from the start."""
    import deepspeed
    from deepspeed.utils import set_log_level_from_string

    set_log_level_from_string("error")
    read_without_code()
    # Read only to decide on compiling a shared-memory all-reduce: a minute, for what training never uses.
    deepspeed.ops.__compatible_ops__ = {}
    deepspeed.init_distributed(timeout=timeout, auto_mpi_discovery=False, verbose=False)
