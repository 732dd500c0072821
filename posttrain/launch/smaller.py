"""Going on after a lack of memory: half the micro-batch, twice the accumulation, the same rows a step."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from posttrain.errors import OutOfMemory
from posttrain.launch.plan import Plan
from posttrain.launch.supervise import run_plan
from posttrain.memory.forecast import with_keys
from posttrain.memory.shortage import smaller_batch
from posttrain.recipe.load import dump_recipe
from posttrain.recipe.schema import Recipe
from posttrain.runs import checkpoints, directory
from posttrain.runs.whole import write_text
from posttrain.stages.arguments import check_batches


def run_smaller_and_smaller(recipe: Recipe, run: Path, plan: Callable[[], Plan]) -> None:
    """Run the plan, and after a lack of memory one more with smaller batches, from the last checkpoint, as long as they
    can be smaller. What was changed is kept in the run, and holds when the same command goes on.

    Raises what `run_plan` raises.
    """
    recipe = with_recorded(recipe, run)
    while True:
        _write(recipe, run)
        ranks = plan()
        try:
            run_plan(ranks)
            return
        except OutOfMemory as error:
            sets = smaller_batch(recipe)
            if not sets:
                raise
            shortage = error
        changed = with_keys(recipe, sets)
        check_batches(changed, ranks.world_size)
        step = checkpoints.newest(run)
        since = f"step {checkpoints.step_of(step)}" if step else "the start"
        print(f"{shortage.message}\n  going on from {since} with " + " ".join(sets), file=sys.stderr)
        if recipe.stage == "kto":
            print("  KTO estimates its KL term from a micro-batch: its losses will differ a little", file=sys.stderr)
        entry = {"why": shortage.message, "since": since, "set": list(sets)}
        directory.write_json(run / directory.SMALLER, [*directory.smaller_batches(run), entry])
        recipe = changed


def with_recorded(recipe: Recipe, run: Path) -> Recipe:
    """Return the recipe with the batches that the run has come to, where it is to go on with smaller ones."""
    changes: list[dict[str, Any]] = directory.smaller_batches(run)
    return with_keys(recipe, changes[-1]["set"]) if changes else recipe


def _write(recipe: Recipe, run: Path) -> None:
    """Write the recipe that the ranks read, with the origin of what the recipe file does not say."""
    notes = "".join(
        f"# --set {' --set '.join(change['set'])}: {change['why']}\n" for change in directory.smaller_batches(run)
    )
    write_text(run / directory.RECIPE, notes + dump_recipe(recipe))
