"""Loading the weights: dtype, GGUF, adapters merged, 4-bit, and what LoRA is put on."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from posttrain.errors import UserError, did_you_mean
from posttrain.model.reading import reading
from posttrain.model.resolve import Parent
from posttrain.model.tokenizer import stop_token_ids
from posttrain.recipe.schema import Lora, Model

if TYPE_CHECKING:
    import torch
    from peft import LoraConfig
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def pick_dtype(name: str) -> torch.dtype:
    """Return the torch dtype of a recipe's ``model.dtype``; ``auto`` is bfloat16 where the hardware
    multiplies it faster than float32: CUDA from compute capability 8.0, processors with AMX or AVX-512
    bfloat16 instructions."""
    import torch

    if name != "auto":
        return getattr(torch, name)
    if torch.cuda.is_available():
        return torch.bfloat16 if torch.cuda.get_device_capability() >= (8, 0) else torch.float32
    processor = torch.cpu.get_capabilities()
    fast = processor.get("amx_bf16") or processor.get("avx512_bf16")
    return torch.bfloat16 if fast else torch.float32


def compute_dtype(settings: Model) -> torch.dtype:
    """Return the dtype that matrix products are computed in; float32 means no autocast."""
    return pick_dtype(settings.dtype)


def weights_dtype(settings: Model) -> torch.dtype:
    """Return the dtype the weights are loaded and trained in.

    Under LoRA the frozen weights take the compute dtype. In full fine-tuning ``auto`` keeps float32 weights
    under autocast: an AdamW step is often smaller than bfloat16's spacing and would be lost. bfloat16 asked
    for by name is given. float16 weights cannot be trained (the loss scaler needs float32 gradients).
    """
    import torch

    computed = compute_dtype(settings)
    trained_whole = settings.lora is None
    if trained_whole and (settings.dtype == "auto" or computed == torch.float16):
        return torch.float32
    return computed


def load_model(parent: Parent, settings: Model, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """Return the parent's weights as a plain causal language model, on the CPU unless in 4-bit.

    GGUF is dequantized and adapters are merged, so that what a stage trains, and what is its reference, is an
    ordinary model. The end-of-turn token stops generation. Under ZeRO-3 the training arguments must exist
    before this is called: they are what makes from_pretrained shard the weights.

    Raises UserError for a model that cannot be read, LoRA targets that it has not got, and 4-bit without a
    GPU.
    """
    _refuse_unworkable(parent, settings)
    model = _load(parent, settings)
    if settings.lora:
        _check_targets(model, settings.lora)
    _set_special_tokens(model, tokenizer)
    return model


def load_reference(parent: Parent, settings: Model) -> PreTrainedModel:
    """Return a second, frozen copy of the parent, for DPO and KTO in full fine-tuning.

    TRL left alone would load it from ``config._name_or_path``, which names other weights than the parent's
    after GGUF and merged adapters.
    """
    model = _load(parent, settings)
    model.eval()
    return model.requires_grad_(False)


def make_lora(lora: Lora) -> LoraConfig:
    """Return peft's configuration for a recipe's ``model.lora``."""
    from peft import LoraConfig

    return LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.r,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]  # peft reads any number
        lora_dropout=lora.dropout,
        target_modules=lora.target_modules,
        use_dora=lora.dora,
        use_rslora=lora.rslora,
    )


def _load(parent: Parent, settings: Model) -> PreTrainedModel:
    import peft
    from transformers import AutoModelForCausalLM

    # Merging and dequantizing work on whole weights; DeepSpeed shards the result when training starts.
    with reading(parent), nullcontext() if parent.is_plain else unsharded():
        model = AutoModelForCausalLM.from_pretrained(
            parent.path,
            revision=parent.revision or "main",
            dtype=weights_dtype(settings),
            trust_remote_code=parent.runs_code,
            **_weights_format(parent),
            **({} if settings.attention == "auto" else {"attn_implementation": settings.attention}),
            **(_four_bit(settings) if settings.load_in_4bit else {}),
        )
        for adapter in parent.adapters:
            adapted = peft.PeftModel.from_pretrained(model, adapter.path, revision=adapter.revision)
            model = adapted.merge_and_unload(safe_merge=True)
            model.__dict__.pop("peft_config", None)
            model.requires_grad_(True)  # peft froze what it adapted
    return model


def _weights_format(parent: Parent) -> dict[str, Any]:
    if not parent.gguf_file:
        return {"use_safetensors": True}
    from transformers import GgufConfig

    return {"gguf_file": parent.gguf_file, "quantization_config": GgufConfig(dequantize=True)}


def _four_bit(settings: Model) -> dict[str, Any]:
    """Return the loading options of QLoRA (arXiv 2305.14314): NF4, double quantization, this rank's GPU."""
    from transformers import BitsAndBytesConfig

    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute_dtype(settings),
    )
    return {"quantization_config": quantization, "device_map": {"": int(os.environ.get("LOCAL_RANK", "0"))}}


@contextmanager
def unsharded() -> Iterator[None]:
    """Load whole weights even under ZeRO-3."""
    from transformers.integrations import deepspeed

    kept = deepspeed._hf_deepspeed_config_weak_ref
    deepspeed.unset_hf_deepspeed_config()
    try:
        yield
    finally:
        deepspeed._hf_deepspeed_config_weak_ref = kept


def _refuse_unworkable(parent: Parent, settings: Model) -> None:
    """Raise UserError for settings that cannot go with this parent or this machine."""
    import torch

    if settings.save == "adapter" and not parent.is_plain:
        what = "a GGUF file" if parent.gguf_file else "an adapter itself"
        raise UserError(
            f"save: adapter writes an adapter to load on top of {parent.name}, but that is {what}, and "
            "nothing else loads an adapter on one",
            where="model.save",
            fix="use save: merged here" + ("" if parent.gguf_file else ", or in the stage before"),
        )
    if settings.load_in_4bit and not torch.cuda.is_available():
        raise UserError(
            "load_in_4bit needs a CUDA GPU, and there is none here",
            where="model.load_in_4bit",
            fix="leave it out: LoRA without it works on a CPU",
        )
    if settings.load_in_4bit and find_spec("bitsandbytes") is None:
        raise UserError(
            "load_in_4bit needs the package bitsandbytes",
            where="model.load_in_4bit",
            fix='install it with: pip install "posttrain[qlora]"',
        )


def _check_targets(model: PreTrainedModel, lora: Lora) -> None:
    """Raise UserError for a LoRA target that the model has not got, or whose adapter could not be used."""
    import torch

    wanted = lora.target_modules
    if wanted == "all-linear":
        return
    kinds = (torch.nn.Linear, torch.nn.Embedding)
    names = [name for name, module in model.named_modules() if isinstance(module, kinds)]
    last = sorted({name.rpartition(".")[2] for name in names})
    matched: list[str] = []
    for target in [wanted] if isinstance(wanted, str) else wanted:
        hits = [name for name in names if _targets(wanted, target, name)]
        if not hits:
            raise UserError(
                f"the model has no module {target!r}.{did_you_mean(target, last)}",
                where="model.lora.target_modules",
                fix=f"it has: {', '.join(last)}; or all-linear",
            )
        matched += hits
    _refuse_shared(model, matched)


def _targets(wanted: str | list[str], target: str, name: str) -> bool:
    """Whether peft takes module `name` for `target`: a string is a regular expression over the whole name, an
    entry of a list a name or its end."""
    if isinstance(wanted, str):
        return re.fullmatch(target, name) is not None
    return name == target or name.endswith(f".{target}")


def _refuse_shared(model: PreTrainedModel, names: list[str]) -> None:
    """Raise UserError for an adapter on the output head, or on an embedding that is tied to it."""
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    tied = head is not None and head.weight is embedding.weight
    for name in names:
        module = model.get_submodule(name)
        if module is head or (tied and module is embedding):
            why = (
                "it shares its weight with the other end of the model"
                if tied
                else "the losses read its weight directly"
            )
            raise UserError(
                f"{name} cannot carry an adapter: {why}",
                where="model.lora.target_modules",
                fix="leave it out",
            )


def _set_special_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Make generation stop at the end of a turn, pad with the tokenizer's token, and keep the generation
    settings such that transformers agrees to save them."""
    generation = model.generation_config
    generation.eos_token_id = stop_token_ids(tokenizer, generation.eos_token_id)
    generation._from_model_config = False  # else generate() makes it anew from the model's configuration
    generation.pad_token_id = model.config.pad_token_id = tokenizer.pad_token_id
    sampling = ("temperature", "top_p", "top_k", "min_p")
    if any(getattr(generation, name, None) is not None for name in sampling):
        generation.do_sample = True  # transformers refuses to save sampling settings beside do_sample=False
    embedding = model.get_input_embeddings()
    if embedding.padding_idx is not None:  # this row gets no gradient: it must not be the end-of-turn token's
        embedding.padding_idx = tokenizer.pad_token_id
