"""The command: a recipe's forecast as a table, or the largest micro-batch tried out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from posttrain.errors import UserError
from posttrain.memory.forecast import document, fits, forecast, longest_in, longest_said, parent_of, parse_size
from posttrain.memory.largest import SHARE, Tried, search, try_rows
from posttrain.memory.report import advice, gigabytes, table
from posttrain.memory.work import ranks_of
from posttrain.model.resolve import resolve_model
from posttrain.recipe.load import load_recipe
from posttrain.stages.terminal import say

Told = tuple[list[str], dict[str, Any]]
"""Lines to print, and the same as one document."""


def show(
    path: Path,
    overrides: Sequence[str],
    model: str | None,
    *,
    device: str | None,
    length: int | None,
) -> Told:
    """Return the forecast of a recipe, with what to change where it does not fit."""
    from posttrain.memory.device import gpu_of, this_device
    from posttrain.memory.remedies import remedies

    loaded = load_recipe(path, stage=None, overrides=overrides, model=model)
    where = gpu_of(parse_size(device), device) if device else this_device(ranks_of(loaded.recipe)[1])

    recipe, place = loaded.recipe, loaded.place
    parent = parent_of(recipe, place("model.path"))
    longest = longest_said(recipe, length) if length else longest_in(recipe, parent, place)
    found = forecast(recipe, parent, longest, on_gpu=where.is_gpu)
    cures = [] if fits(found.estimate, where) else remedies(found, parent, longest, where)
    lines = table(found, where) + ([] if fits(found.estimate, where) else advice(cures))
    said = document(found, where)
    said["changes"] = [{"set": list(cure.sets), "total": cure.estimate.total, "fits": cure.fits} for cure in cures]
    return lines, said


def find(path: Path, overrides: Sequence[str], model: str | None) -> Told:
    """Return what each micro-batch took that was tried on this machine's device, and the largest that fits.

    Micro-batches are the divisors of the rows of a step, so that accumulation keeps the step as it is. Raises UserError
    for a recipe of several processes or without training, and where no micro-batch fits.
    """
    from posttrain.memory.device import this_device
    from posttrain.memory.remedies import SMALLEST, batch_sets, divisors
    from posttrain.stages.arguments import check_batches, train_settings

    loaded = load_recipe(path, stage=None, overrides=overrides, model=model)
    recipe, launch = loaded.recipe, loaded.recipe.launch
    if recipe.stage == "eval":
        raise UserError(
            "eval trains nothing", where="--find-batch", fix="rollout.batch_size is what it decodes together"
        )
    if recipe.stage == "rlvr":
        raise UserError(
            "rlvr's batch is not tried: what it holds depends on what is drawn",
            where="--find-batch",
            fix="the estimate, without --find-batch, takes the longest completions",
        )
    if ranks_of(recipe)[0] > 1 or launch.zero:
        fix = "--set launch.processes=1 --set launch.zero=0 --set 'launch.offload=[]' tries one process"
        raise UserError("micro-batches are tried in one process, without ZeRO", where="--find-batch", fix=fix)
    resolve_model(recipe.model, loaded.place("model.path"))
    check_batches(recipe, 1)
    settings = train_settings(recipe)
    a_step = settings["per_device_train_batch_size"] * settings["gradient_accumulation_steps"]
    sizes = [rows for rows in divisors(a_step) if rows >= SMALLEST.get(recipe.stage, 1)]
    device = this_device()
    limit = None if device.is_gpu else int(device.free * SHARE)
    lines = []

    def attempt(rows: int) -> Tried:
        say(f"trying {rows} of {a_step} rows at a time")
        return try_rows(recipe, rows, a_step // rows, limit=limit)

    tried = search(sizes, attempt, float(limit or device.total))
    for one in sorted(tried, key=lambda one: one.rows):
        took = f"{gigabytes(one.peak):>6} GB, {one.rows_a_second:,.3g} rows a second" if one.fits else "  does not fit"
        lines.append(f"{one.rows:>5} x {a_step // one.rows:<5}{took}")
    best = max((one.rows for one in tried if one.fits), default=0)
    if not best:
        raise UserError("\n".join([f"not even {sizes[0]} rows at a time fit", *lines]), where="--find-batch")
    sets = batch_sets(best, a_step // best)
    lines.append(
        f"the largest that fits in {gigabytes(limit or device.free)} GB: " + " ".join(f"--set {key}" for key in sets)
    )
    said = {"tried": [asdict(one) for one in tried], "largest": best, "set": list(sets), "limit": limit or device.free}
    return lines, said
