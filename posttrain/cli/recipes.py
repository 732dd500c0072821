"""`posttrain recipe`: shipped recipes, the schema, jobs of OpenAI's."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from posttrain.cli.options import AsJson


def list_(as_json: AsJson = False) -> None:
    """List the recipes that come with posttrain.

    Example: posttrain recipe list
    """
    from posttrain.recipe.shipped import list_recipes

    found = list_recipes()
    width = max(len(name) for name, _ in found)
    print(json.dumps(dict(found)) if as_json else "\n".join(f"{name:{width}}  {about}" for name, about in found))


def copy(
    name: Annotated[str, typer.Argument(help="A name from `posttrain recipe list`.")],
    to: Annotated[Path, typer.Argument(help="A directory to copy into.")] = Path("."),
) -> None:
    """Copy a shipped recipe, with its data, to start from.

    Example: posttrain recipe copy quickstart my-task
    """
    from posttrain.recipe.shipped import copy_recipe

    for path in copy_recipe(name, to):
        print(path)


def schema(
    stage: Annotated[str | None, typer.Argument(help="sft, dpo, kto, rlvr or eval; all of them when left out.")] = None,
) -> None:
    """Print the JSON Schema of a recipe, for editors.

    Example: posttrain recipe schema sft > sft.schema.json
    """
    from posttrain.recipe.json_schema import json_schema

    print(json.dumps(json_schema(stage), indent=2))


def from_openai(
    job: Annotated[Path, typer.Argument(metavar="JOB", help="A fine-tuning job of OpenAI's or Azure's, as JSON.")],
    to: Annotated[Path | None, typer.Option("--to", metavar="DIR", help="Write it there, as STAGE.yaml.")] = None,
    train: Annotated[Path | None, typer.Option("--train", metavar="FILE", help="Your copy of training_file.")] = None,
    dev: Annotated[Path | None, typer.Option("--dev", metavar="FILE", help="Your copy of validation_file.")] = None,
    model: Annotated[str | None, typer.Option("--model", help="The model to train in place of OpenAI's.")] = None,
) -> None:
    """Turn a fine-tuning job of OpenAI's into a recipe; what it cannot say here is listed on stderr.

    Example: posttrain recipe from-openai job.json --train train.jsonl --dev valid.jsonl > rlvr.yaml
    """
    from posttrain.recipe.from_openai import convert_job, write_recipe

    converted = convert_job(job, to=to or Path(), train=train, dev=dev, model=model)
    print(write_recipe(converted, to) if to else converted.text, end="\n" if to else "")
    for line in converted.left_out:
        print(f"not carried over: {line}", file=sys.stderr)
