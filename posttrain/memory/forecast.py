"""From a recipe to what its run will take, and what to change where that does not fit."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from posttrain.errors import UserError
from posttrain.memory.work import Longest, ranks_of, work_of
from posttrain.model.resolve import Parent, resolve_model
from posttrain.recipe.overrides import parse_override, with_value
from posttrain.recipe.schema import Recipe

if TYPE_CHECKING:
    from posttrain.memory.device import Device
    from posttrain.memory.disk import Written
    from posttrain.memory.estimate import Estimate
    from posttrain.memory.work import Work


@dataclass(frozen=True)
class Forecast:
    """What a run of `recipe` takes on each of its devices, and of the disk; `parameters` are the model's, without
    adapters."""

    recipe: Recipe
    work: Work
    parameters: int
    trained: int
    estimate: Estimate
    written: Written


def forecast(recipe: Recipe, parent: Parent, longest: Longest, *, on_gpu: bool) -> Forecast:
    """Return what a run will take. No weights are read. Raises UserError for a model that cannot be drawn up."""
    from posttrain.memory.blueprint import blueprint_of
    from posttrain.memory.disk import written
    from posttrain.memory.estimate import estimate

    work = work_of(recipe, longest, on_gpu=on_gpu, ranks=ranks_of(recipe)[0])
    blueprint = blueprint_of(parent, recipe.model, work.weights, trained=bool(work.rows))
    try:
        found = estimate(work, blueprint)
    except UserError:
        raise
    except Exception as error:  # whatever a strange model raises on tensors without data
        raise UserError(f"its layers cannot be gone through without weights ({error})", where="model.path") from error
    on_disk = written(recipe, work, blueprint)
    return Forecast(recipe, work, blueprint.parameters, blueprint.trained_parameters, found, on_disk)


def longest_of(train: Any, recipe: Recipe, prompts: Sequence[int]) -> Longest:
    """Return the most tokens of the trainer's rows, and of held-out prompts of these lengths.

    `train` may be None where nothing is trained. The trainers cut to ``max_length`` what preparation has left longer,
    and streamed rows may be as long.
    """
    from posttrain.data.packing import row_lengths
    from posttrain.stages.arguments import train_settings

    most, problems = max(prompts, default=0), len(prompts)
    if recipe.stage == "eval":
        return Longest(0, most, problems)
    if recipe.stage == "rlvr":
        return Longest(max(map(len, train["prompt_ids"])), most, problems, len(train))
    limit = train_settings(recipe)["max_length"]
    row = limit if recipe.data.streaming else int(row_lengths(train).max())
    rows = 0 if recipe.data.streaming else len(train)
    return Longest(min(row, limit) if limit else row, most, problems, rows)


def longest_in(recipe: Recipe, parent: Parent, place: Callable[[str], str]) -> Longest:
    """Return the lengths of a recipe's rows, tokenized now or found in the cache as a run finds them."""
    from posttrain.data.load import load_data
    from posttrain.data.prepare import prepare_rows
    from posttrain.model.tokenizer import load_tokenizer
    from posttrain.stages.arguments import token_settings

    parts = ("dev", "unseen") if recipe.stage == "eval" else ("train", "dev", "problems")
    rows = load_data(recipe.data, recipe.stage, seed=recipe.seed, parts=parts, place=place)
    tokenizer = load_tokenizer(parent, recipe.model)

    def prepared(records: Any, stage: str) -> Any:
        return prepare_rows(records, stage, tokenizer, token_settings(recipe, stage)).dataset if records else None

    asked: Any = rows.problems if recipe.stage in ("sft", "dpo", "kto") else rows.dev or rows.unseen
    looked = prepared(asked[: recipe.eval.limit], "rlvr")
    train = prepared(rows.train, recipe.stage) if recipe.stage != "eval" else None
    return longest_of(train, recipe, [len(ids) for ids in looked["prompt_ids"]] if looked is not None else [])


def longest_said(recipe: Recipe, width: int) -> Longest:
    """Return `width` tokens for each row, and each prompt; no row is read."""
    asks = recipe.stage == "eval" or bool(recipe.data.problems) or (recipe.stage == "rlvr" and bool(recipe.data.dev))
    return Longest(width, width, recipe.rollout.batch_size if asks else 0)


def with_keys(recipe: Recipe, keys: Sequence[str]) -> Recipe:
    """Return the recipe with other values, ``key=value`` as for ``--set``."""
    raw = recipe.model_dump(mode="json")
    for key in keys:
        raw = with_value(raw, *parse_override(key))
    return Recipe.model_validate(raw)


def parent_of(recipe: Recipe, where: str) -> Parent:
    """Return the recipe's model; one that has only its configuration will do, since no weights are read."""
    folder = Path(recipe.model.path).expanduser()
    weights = [file for file in folder.glob("*") if file.suffix in (".safetensors", ".gguf")] if folder.is_dir() else []
    if (folder / "config.json").exists() and not weights:
        return Parent(recipe.model.path, "directory", str(folder), digest="", base_model=recipe.model.path)
    return resolve_model(recipe.model, where)


def document(found: Forecast, device: Device) -> dict[str, Any]:
    """The forecast as one JSON document, sizes in bytes."""
    work, estimate = found.work, found.estimate
    return {
        "stage": found.recipe.stage,
        "model": found.recipe.model.path,
        "parameters": found.parameters,
        "trained": found.trained,
        "rows": work.rows,
        "tokens_a_row": work.width,
        "completions": work.sampled,
        "processes": work.ranks,
        "moments": estimate.moments,
        "main_memory": estimate.host,
        "total": estimate.total,
        "device": {"name": device.name, "free": device.free, "total": device.total},
        "fits": fits(estimate, device),
        "notes": estimate.notes,
    }


def fits(estimate: Estimate, device: Device) -> bool:
    """Whether it all fits, with a little left for what an allocator cannot use."""
    return estimate.total <= device.free * USABLE and sum(estimate.host.values()) <= device.host


USABLE = 0.95
"""Of a device's free memory: allocators leave gaps."""


def parse_size(text: str) -> int:
    """Return the bytes that ``24GB`` means; GB are 10^9, GiB 2^30. Raises UserError."""
    units = {"gib": 2**30, "gb": 10**9, "g": 10**9, "": 10**9}
    number = text.strip().lower().rstrip("gib")
    unit = text.strip().lower()[len(number) :]
    try:
        size = float(number)
    except ValueError:
        size = 0
    if size <= 0 or unit not in units:
        raise UserError(f"{json.dumps(text)} is no amount of memory", where="--device", fix="for example --device 24GB")
    return int(size * units[unit])
