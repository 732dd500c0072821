"""sft, dpo, kto and rlvr; `check` before them, `runs` after."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from posttrain.cli.options import AsJson, Fresh, FromStep, MaxMinutes, ModelName, Out, RecipePath, Seed, Sets, piped


def stage_command(stage: str, summary: str) -> Callable[..., None]:
    """Return the command of one stage."""

    def command(
        recipe: RecipePath,
        model: ModelName = None,
        out: Out = None,
        seed: Seed = None,
        set_: Sets = None,
        fresh: Fresh = False,
        from_step: FromStep = None,
        max_minutes: MaxMinutes = None,
    ) -> None:
        from posttrain.launch.start import start_stage

        start_stage(
            stage,
            recipe,
            model=model,
            out=out,
            seed=seed,
            overrides=set_ or [],
            fresh=fresh,
            from_step=from_step,
            max_minutes=max_minutes,
        )

    command.__doc__ = (
        f"{summary}\n\nPrints the path of the finished checkpoint; everything else goes to stderr. Run again, a "
        f"finished run returns at once and an interrupted one resumes.\n\nExample: posttrain {stage} {stage}.yaml "
        "--set train.learning_rate=1e-5"
    )
    return command


def check(recipe: RecipePath, model: ModelName = None, set_: Sets = None, as_json: AsJson = False) -> None:
    """Find every error of a recipe, its graders and its rows, without loading a model.

    Example: posttrain check sft.yaml
    """
    from posttrain.launch.start import reserved_stdout
    from posttrain.recipe.check import check_recipe

    with reserved_stdout() as stdout:  # a grader in Python may print
        lines = check_recipe(recipe, overrides=set_ or [], model=piped(model, "check"))
        print(json.dumps({"ok": True, "report": lines}) if as_json else "\n".join(lines), file=stdout)


def runs(
    directory: Annotated[Path, typer.Argument(help="Where to look.")] = Path("runs"), as_json: AsJson = False
) -> None:
    """List the runs below a directory: stage, parent, and what each reached.

    Example: posttrain runs
    """
    from posttrain.runs.listing import list_runs, render

    found = list_runs(directory)
    print(json.dumps([run._asdict() for run in found], indent=2) if as_json else render(found, directory))
