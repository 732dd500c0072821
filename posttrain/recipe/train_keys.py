"""The recipe's `train:` section held against TRL's keys: which are unknown, refused or of the wrong type."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any

from posttrain.errors import MOST_ERRORS, UserError, did_you_mean
from posttrain.recipe.explain import choices, shown
from posttrain.recipe.trl_keys import Schema, TrlKey, trl_keys
from posttrain.recipe.yaml_lines import Loc

_DTYPE = "the dtype is `model.dtype`"
_LOOK = "held-out rows are looked at every `eval.every` steps, at step 0 and at the end"
_BEST = "the checkpoint to keep is named by `eval.best_by`"
_SHARDING = "sharding, offload and processes are in `launch` (processes, zero, offload, hostfile)"
_STAGE = "the command is the stage: `posttrain sft|dpo|kto|rlvr|eval`"
_RESUME = "an interrupted run resumes by itself when the same command runs again; `--fresh` starts over"
_TOKENS = "posttrain tokenizes the rows itself and trains on the answers alone (docs/data.md)"
_SHUFFLE = "rows are shuffled with the recipe's `seed`"
_HUB = "nothing is uploaded; when the run is done: `hf upload NAME RUN/final`"
_ENGINE = "what samples the completions is `rollout.engine`"
_METRICS = "the metrics are posttrain's own (RUN/metrics.jsonl)"
_SPECIAL = "special tokens are the model's own; a new chat template goes in `model.chat_template`"

# TRL's keys that posttrain sets itself: where they live instead, or why they are not taken.
REFUSED: dict[str, str] = {
    "output_dir": "the run directory is `out`",
    "seed": "the seed is the recipe's own `seed`, for everything",
    "data_seed": "the seed is the recipe's own `seed`, for everything",
    "model_init_kwargs": "how the model is loaded is in `model` (dtype, attention, load_in_4bit …)",
    "trust_remote_code": "a model's own code is run where `model.trust_remote_code` pins it",
    "chat_template_path": "the chat template is `model.chat_template`",
    "eos_token": _SPECIAL,
    "pad_token": _SPECIAL,
    **dict.fromkeys(("bf16", "fp16", "bf16_full_eval", "fp16_full_eval"), _DTYPE),
    "disable_tqdm": "posttrain draws its own progress bar",
    "dataloader_pin_memory": "memory is pinned where there is a GPU",
    "use_cpu": "to train on the CPU, hide the GPUs: CUDA_VISIBLE_DEVICES= posttrain …",
    **dict.fromkeys(("eval_strategy", "eval_steps", "eval_delay", "eval_on_start"), _LOOK),
    **dict.fromkeys(("load_best_model_at_end", "metric_for_best_model", "greater_is_better"), _BEST),
    **dict.fromkeys(
        (
            "deepspeed",
            "fsdp",
            "fsdp_config",
            "accelerator_config",
            "parallelism_config",
            "ddp_backend",
            "local_rank",
        ),
        _SHARDING,
    ),
    **dict.fromkeys(("do_train", "do_eval", "do_predict"), _STAGE),
    **dict.fromkeys(("resume_from_checkpoint", "ignore_data_skip"), _RESUME),
    **dict.fromkeys(
        ("save_only_model", "save_on_each_node"), "a checkpoint is all that a run resumes from (docs/runs.md)"
    ),
    **dict.fromkeys(
        (
            "remove_unused_columns",
            "dataset_text_field",
            "dataset_kwargs",
            "dataset_num_proc",
            "assistant_only_loss",
        ),
        _TOKENS,
    ),
    **dict.fromkeys(("completion_only_loss", "label_names", "length_column_name"), _TOKENS),
    "truncation_mode": "what becomes of long rows is `data.too_long`: keep_start, keep_end, drop or split",
    "chat_template_kwargs": _TOKENS,
    "shuffle_dataset": _SHUFFLE,
    "padding_free": "`packing: true` puts rows behind each other without padding",
    **dict.fromkeys(
        ("push_to_hub", "hub_token", "hub_private_repo", "hub_model_id", "hub_strategy", "hub_always_push"),
        _HUB,
    ),
    **dict.fromkeys(("hub_revision", "log_completions_hub_repo"), _HUB),
    **dict.fromkeys(("include_for_metrics", "batch_eval_metrics", "prediction_loss_only"), _METRICS),
    "reward_weights": "a grader's weight stands beside it: `graders: [{type: …, weight: 0.5}]`",
    "multi_objective_aggregation": "graders are combined into one score, by their `weight`",
    "num_generations_eval": "completions a held-out problem are `eval.samples`",
    "use_vllm": _ENGINE,
    **dict.fromkeys(
        (
            "use_transformers_continuous_batching",
            "transformers_continuous_batching_config",
            "use_transformers_paged",
        ),
        _ENGINE,
    ),
}

# Values of TRL's keys that posttrain does not take, by key, and what does it here.
REFUSED_VALUES: dict[str, dict[str, str]] = {
    "packing_strategy": {
        "bfd_split": "long rows are split by `data.too_long: split`",
        "wrapped": "it cuts rows anywhere and lets each see the one before; leave it out: bfd keeps rows whole",
    },
}

# Names from older TRL and transformers and from other tools, and the key that does it here.
ELSEWHERE: dict[str, str] = {
    "max_seq_length": "TRL's name is `max_length`",
    "max_prompt_length": "prompts that are too long are left out by `rollout.max_prompt_tokens`",
    "max_new_tokens": "TRL's name is `max_completion_length`",
    "warmup_ratio": "`warmup_steps` below 1 is a share of the steps: `warmup_steps: 0.1`",
    "evaluation_strategy": _LOOK,
    "overwrite_output_dir": _RESUME,
    "group_by_length": "TRL's name is `train_sampling_strategy: group_by_length`",
    "torch_dtype": _DTYPE,
    "dtype": _DTYPE,
    "attn_implementation": "the attention implementation is `model.attention`",
    "model_name_or_path": "the model is `model.path`",
    "dataset_name": "the rows are `data.train`",
    "load_in_4bit": "4-bit loading is `model.load_in_4bit`",
    "use_peft": "adapters are `model.lora`",
    "lora_r": "adapters are `model.lora` (r, alpha, dropout, target_modules)",
    "lora_alpha": "adapters are `model.lora` (r, alpha, dropout, target_modules)",
    "lr": "TRL's name is `learning_rate`",
    "epochs": "TRL's name is `num_train_epochs`",
    "batch_size": "TRL's name is `per_device_train_batch_size`",
}

_TYPE_NAMES = {
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "string": "text",
    "array": "a list",
    "object": "a mapping",
    "null": "null",
}
_PYTHON: dict[str, Any] = {
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "string": (str,),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}


def check_train(train: Mapping[str, Any], stage: str, place: Callable[[Loc], str]) -> list[UserError]:
    """Return one error for every key of `train` that TRL's config of `stage` does not take as it is."""
    if stage == "eval":
        message = "an eval recipe has no train section: sampling is set in `rollout`"
        return [UserError(message, where=place(("train",)))] if train else []
    keys = trl_keys(stage)
    problems = ((key, _problem(key, value, keys, stage)) for key, value in train.items())
    errors = (UserError(problem, where=place(("train", key))) for key, problem in problems if problem)
    return list(islice(errors, MOST_ERRORS + 1))  # the words of each take a while


def allowed_keys(stage: str) -> dict[str, TrlKey]:
    """Return the TRL keys that a `stage` recipe may set under `train`."""
    return {name: key for name, key in trl_keys(stage).items() if _refusal(name) is None}


def takes(value: Any, schema: Schema) -> bool:
    """Return whether `value` is of the type, or one of the choices, that `schema` names."""
    if "enum" in schema:
        return any(value == choice and type(value) is type(choice) for choice in schema["enum"])
    kind = schema["type"]
    if isinstance(value, bool) and kind != "boolean":
        return False
    if not isinstance(value, _PYTHON[kind]):
        return False
    return "items" not in schema or all(takes(item, schema["items"]) for item in value)


def _refusal(name: str) -> str | None:
    return _ENGINE if name.startswith("vllm_") else REFUSED.get(name)


def _problem(name: str, value: Any, keys: Mapping[str, TrlKey], stage: str) -> str | None:
    if name not in keys:
        return _unknown(name, keys, stage)
    if refusal := _refusal(name):
        return f"not set here: {refusal}"
    if isinstance(value, str) and (refusal := REFUSED_VALUES.get(name, {}).get(value)):
        return f"{shown(value)} is not taken: {refusal}"
    if not _is_finite(value):
        return f"must be finite, not {shown(value)}"
    schemas = keys[name].takes
    if not schemas or any(takes(value, schema) for schema in schemas):
        return None
    return f"must be {_expected(schemas)}, not {shown(value)}.{_nearest(value, schemas)}".removesuffix(".")


def _is_finite(value: Any) -> bool:
    """Whether no number in it is NaN or infinite."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return all(map(_is_finite, inner)) and not (isinstance(value, float) and not math.isfinite(value))


def _unknown(name: str, keys: Mapping[str, TrlKey], stage: str) -> str:
    if name in ELSEWHERE:
        return f"unknown key: {ELSEWHERE[name]}"
    others = [other for other in ("sft", "dpo", "kto", "rlvr") if name in trl_keys(other)]
    if others:
        return f"unknown key: TRL has it for {', '.join(others)}, not for {stage}"
    near = did_you_mean(name, allowed_keys(stage))
    return f"unknown key.{near}" if near else "unknown key: `train` takes the keys of TRL's config"


def _expected(schemas: tuple[Schema, ...]) -> str:
    words = [choices(s["enum"]) if "enum" in s else _type_name(s) for s in schemas if s != {"type": "null"}]
    return " or ".join(words)


def _type_name(schema: Schema) -> str:
    items = schema.get("items")
    plural = {"string": " of texts", "number": " of numbers", "integer": " of whole numbers"}
    return _TYPE_NAMES[schema["type"]] + (plural.get(items["type"], "") if items else "")


def _nearest(value: Any, schemas: tuple[Schema, ...]) -> str:
    known = [choice for schema in schemas for choice in schema.get("enum", []) if isinstance(choice, str)]
    return did_you_mean(value, known) if isinstance(value, str) else ""
