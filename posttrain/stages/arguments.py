"""From a recipe to TRL's config: our defaults, then the recipe's `train:` keys, then what posttrain owns.

Where each default comes from is in docs/defaults.md.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from posttrain.data.thinking import VARIABLES, settings_of
from posttrain.errors import UserError
from posttrain.recipe.schema import Recipe
from posttrain.runs import checkpoints, directory
from posttrain.stages.drawing import check_drawing

if TYPE_CHECKING:
    import torch
    from transformers import TrainingArguments

    from posttrain.model.resolve import Parent

_ALL = {
    "lr_scheduler_type": "linear",
    "warmup_steps": 0.1,  # below 1 it is a share of all steps
    "logging_steps": 1,
    "save_total_limit": 2,
    "logging_nan_inf_filter": False,  # a NaN must be seen, not averaged away
    "report_to": "none",
}
_OF_STAGE: dict[str, dict[str, Any]] = {
    "sft": {
        "per_device_train_batch_size": 8,
        "gradient_accumulation_steps": 2,
        "num_train_epochs": 2,
        "max_length": 2048,
        "eval_packing": False,  # held-out figures stay comparable whether or not training rows are packed
    },
    "dpo": {
        "per_device_train_batch_size": 8,
        "gradient_accumulation_steps": 4,
        "num_train_epochs": 1,
        "max_length": 2048,
    },
    "kto": {
        "per_device_train_batch_size": 8,
        "gradient_accumulation_steps": 4,
        "num_train_epochs": 1,
        "max_length": 2048,
    },
    "rlvr": {
        "per_device_train_batch_size": 16,
        "gradient_accumulation_steps": 8,
        "num_generations": 8,
        "max_steps": 200,
        "max_completion_length": 512,
        "lr_scheduler_type": "constant",
        "warmup_steps": 0,
        "epsilon_high": 0.28,  # DAPO's clip-higher, arXiv 2503.14476 section 3.1
        "scale_rewards": "batch",  # a group's own deviation over-weights what is nearly solved or nearly hopeless
    },
}
# Full fine-tuning, LoRA. LoRA wants about ten times the rate.
_LEARNING_RATE = {"sft": (1e-5, 1e-4), "dpo": (5e-7, 5e-6), "kto": (1e-6, 5e-6), "rlvr": (1e-6, 1e-5)}
_COUNTS = ("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps")
_CONFIG_CLASS = {"sft": "SFTConfig", "dpo": "DPOConfig", "kto": "KTOConfig", "rlvr": "GRPOConfig"}


def train_settings(recipe: Recipe) -> dict[str, Any]:
    """Return TRL's keys for this recipe: the defaults of its stage under the recipe's own `train:` keys."""
    rate = _LEARNING_RATE[recipe.stage][recipe.model.lora is not None]
    settings = {**_ALL, **_OF_STAGE[recipe.stage], "learning_rate": rate, **recipe.train}
    settings.setdefault("per_device_eval_batch_size", settings["per_device_train_batch_size"])
    if recipe.stage == "rlvr" and "num_train_epochs" in recipe.train and "max_steps" not in recipe.train:
        del settings["max_steps"]  # max_steps would silently win over the epochs asked for
    return settings


def reads_reference_beforehand(settings: Mapping[str, Any], rows: int, ranks: int) -> bool:
    """Return whether the reference of DPO and KTO reads all `rows` (0: not known) before the first step: where the
    settings do not say, when training reads as many rows as there are, and the reference stays what it is."""
    asked = settings.get("precompute_ref_log_probs")
    if asked is not None:
        return bool(asked)
    return not settings.get("sync_ref_model") and rows_read(settings, rows, ranks) >= rows


def rows_read(settings: Mapping[str, Any], rows: int, ranks: int) -> int:
    """Return the rows that a run over a set of `rows` reads, each as often as it is read."""
    if settings.get("max_steps", 0) <= 0:
        return int(settings["num_train_epochs"] * rows)
    step = settings["per_device_train_batch_size"] * settings["gradient_accumulation_steps"] * ranks
    return int(settings["max_steps"] * step)


def token_settings(recipe: Recipe, stage: str, max_length: int | None = None) -> dict[str, Any]:
    """Return the keyword arguments of ``tokenize.OF_STAGE[stage]`` that this recipe asks for.

    `stage` is rlvr for a recipe's `problems`, whatever its own is. `max_length`, where given, stands in for the limit.
    """
    if stage in ("rlvr", "eval"):
        return {"max_prompt_tokens": max_length or recipe.rollout.max_prompt_tokens, **settings_of(recipe.data, stage)}
    longest = max_length or train_settings(recipe)["max_length"]
    return {"max_length": longest, "too_long": recipe.data.too_long, **settings_of(recipe.data, stage)}


def spread(settings: dict[str, Any], began: int, processes: int) -> dict[str, Any]:
    """Return the settings of a run that began with so many processes and goes on with others: as many rows a step, in
    more or fewer rounds. Raises UserError where these processes cannot make as many."""
    names = [name for name in ("gradient_accumulation_steps", "steps_per_generation") if settings.get(name)]
    if any(settings[name] * began % processes for name in names):
        rounds = math.gcd(*(settings[name] for name in names)) * began
        raise UserError(
            f"the run began with {began} processes, and {processes} cannot make as many rows a step "
            f"({settings['per_device_train_batch_size']} a device x {settings['gradient_accumulation_steps']} rounds x "
            f"{began} processes)",
            where="launch.processes",
            fix="use " + " or ".join(str(number) for number in range(1, rounds + 1) if rounds % number == 0),
        )
    return {**settings, **{name: settings[name] * began // processes for name in names}}


def check_batches(recipe: Recipe, processes: int, began: int | None = None) -> None:
    """Raise UserError when the batch sizes cannot work, before anything is loaded. `began`: see `spread`."""
    settings = train_settings(recipe)
    for name in (*_COUNTS, *(["num_generations"] if recipe.stage == "rlvr" else [])):
        if not isinstance(settings.get(name, 1), int) or settings.get(name, 1) < 1:
            raise UserError(f"must be at least 1, not {settings[name]}", where=f"train.{name}")
    settings = spread(settings, began or processes, processes)
    per_device = settings["per_device_train_batch_size"]
    if recipe.stage == "kto" and per_device < 2:
        raise UserError(
            "KTO estimates its KL term from the other rows of the batch and needs at least 2 of them",
            where="train.per_device_train_batch_size",
            fix="use 4 or more",
        )
    if recipe.eval.best_by and (set_too := {"save_steps", "save_strategy"} & recipe.train.keys()):
        raise UserError(
            "with eval.best_by a checkpoint is saved at every look at the held-out rows",
            where=f"train.{min(set_too)}",
            fix="leave it out: eval.every says how often",
        )
    if settings.get("sync_ref_model") and recipe.launch.zero == 3:
        raise UserError(
            "a reference that follows the model is not saved while it is shared out, and such a run could not resume",
            where="train.sync_ref_model",
            fix="use launch.zero 2 or less",
        )
    _check_lengths(recipe.stage, settings)
    if recipe.stage != "rlvr":
        return
    group = settings["num_generations"]
    if group < 2:
        raise UserError(
            "RLVR compares a problem's completions with each other and needs at least 2 of them",
            where="train.num_generations",
            fix="8 is a good start",
        )
    rounds = settings.get("steps_per_generation") or settings["gradient_accumulation_steps"]
    batch = settings.get("generation_batch_size") or per_device * processes * rounds
    if batch % group:
        raise UserError(
            f"{batch} completions a step ({per_device} a device x {processes} processes x {rounds} rounds) do not "
            f"make whole groups of num_generations = {group}",
            where="train",
            fix=f"make per_device_train_batch_size a multiple of {group}",
        )
    check_drawing(recipe, settings, batch // processes)


def _check_lengths(stage: str, settings: Mapping[str, Any]) -> None:
    """Raise UserError for packing without a length, and for an order of rows that the stage has no use for."""
    if (settings.get("packing") or settings.get("eval_packing")) and not settings["max_length"]:
        raise UserError("packing needs a length to pack to", where="train.max_length", fix="2048 is the default")
    if settings.get("packing") and settings.get("use_cache"):
        raise UserError("with a cache packed rows see each other", where="train.use_cache", fix="leave it out")
    if settings.get("eval_packing") and not settings.get("packing"):
        raise UserError("held-out rows are packed where training rows are", where="train.eval_packing")
    strategy = settings.get("train_sampling_strategy", "sequential" if stage == "kto" else "random")
    if stage == "kto" and strategy != "sequential" and settings.get("loss_type") != "apo_zero_unpaired":
        raise UserError(
            "KTO's KL term pairs each row with the one before it: their order is fixed",
            where="train.train_sampling_strategy",
            fix="leave it out",
        )
    if stage == "rlvr" and strategy != "random":
        raise UserError(
            "RLVR draws its problems itself: TRL does not read this key",
            where="train.train_sampling_strategy",
            fix="leave it out",
        )


def check_reference(recipe: Recipe, parent: Parent) -> None:
    """Raise UserError where RLVR's KL penalty would be taken to another model than the parent.

    In full fine-tuning TRL loads that reference itself, by the name in the model's config.
    """
    if recipe.stage != "rlvr" or not recipe.train.get("beta") or recipe.model.lora:
        return
    if not parent.is_plain or recipe.model.revision:
        raise UserError(
            f"the reference of the KL penalty cannot be loaded from {parent.name}: TRL reads a plain model directory "
            "or a hub model's main branch",
            where="train.beta",
            fix="train adapters (`lora: {}` under model), or start from a run or a saved model",
        )


def make_arguments(recipe: Recipe, run: Path, *, has_dev: bool, dtype: torch.dtype) -> TrainingArguments:
    """Return TRL's config object. `dtype` is what the hardware computes in (``pick_dtype``).

    It must be made before the model is loaded: under ZeRO-3 it is what makes from_pretrained shard the weights.
    """
    import torch
    import trl

    from posttrain.launch.deepspeed import deepspeed_config

    processes = int(os.environ.get("WORLD_SIZE", "1"))
    settings = spread(train_settings(recipe), directory.processes_of(run) or processes, processes)
    on_gpu = torch.cuda.is_available()
    half = {"bf16": dtype == torch.bfloat16, "fp16": dtype == torch.float16 and on_gpu}
    owned: dict[str, Any] = {
        "output_dir": str(run / checkpoints.CHECKPOINTS),
        "seed": recipe.seed,
        "data_seed": recipe.seed,
        "disable_tqdm": True,
        "use_cpu": not on_gpu,
        "dataloader_pin_memory": on_gpu,
        **half,
    }
    settings.setdefault("gradient_checkpointing", on_gpu)
    looks = recipe.eval.every or 0.1  # below 1 it is a share of all steps
    if has_dev:
        owned |= {"eval_strategy": "steps", "eval_steps": looks, "eval_on_start": True}
        if recipe.stage == "rlvr":  # the look at held-out problems is ours; this only satisfies TRL's check
            settings["per_device_eval_batch_size"] = settings["num_generations"]
    settings = {"save_strategy": "steps", "save_steps": looks, **settings}
    if recipe.stage == "rlvr":  # TRL renders the prompts, and is to write them as the rows were tokenized
        settings.setdefault("chat_template_kwargs", VARIABLES[recipe.data.thinking] or None)
    if recipe.stage == "sft":
        owned["dataset_kwargs"] = {"skip_prepare_dataset": True}  # rows come tokenized, labelled and cut
        owned["remove_unused_columns"] = False  # the columns of a pack are made when it is read
    if recipe.stage == "dpo" and recipe.data.too_long == "keep_end":
        owned["truncation_mode"] = "keep_end"
    if recipe.eval.best_by:
        owned |= {
            "load_best_model_at_end": True,
            "metric_for_best_model": f"eval_{recipe.eval.best_by}",
            "greater_is_better": recipe.eval.best_by != "loss",
        }
    if config := deepspeed_config(recipe.launch, dtype=str(dtype).removeprefix("torch.")):
        owned["deepspeed"] = config
    try:
        return getattr(trl, _CONFIG_CLASS[recipe.stage])(**settings, **owned)
    except (ValueError, TypeError) as error:
        raise UserError(str(error), where="train") from error
