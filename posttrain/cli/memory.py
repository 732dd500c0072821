"""`posttrain memory`: what a recipe's run will take, before it starts."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from posttrain.cli.options import AsJson, ModelName, RecipePath, Sets, piped
from posttrain.errors import UserError


def memory(
    recipe: RecipePath,
    model: ModelName = None,
    set_: Sets = None,
    device: Annotated[
        str | None, typer.Option("--device", metavar="SIZE", help="A GPU of this size (24GB) in place of what is here.")
    ] = None,
    length: Annotated[
        int | None, typer.Option("--length", min=1, help="Rows of so many tokens, in place of reading the recipe's.")
    ] = None,
    find_batch: Annotated[
        bool, typer.Option("--find-batch", help="Train on the longest rows to find the largest micro-batch that fits.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Say how much memory a stage will take, part by part, and what to change if it does not fit.

    Example: posttrain memory sft.yaml --device 24GB
    """
    from posttrain.launch.start import reserved_stdout
    from posttrain.memory.command import find, show

    if find_batch and (device or length):
        other = "--device" if device else "--length"
        raise UserError(
            "micro-batches are tried on this machine, with the recipe's rows", where=other, fix="Leave it out."
        )
    with reserved_stdout() as stdout:
        name = piped(model, "memory")
        if find_batch:
            lines, document = find(recipe, set_ or [], name)
        else:
            lines, document = show(recipe, set_ or [], name, device=device, length=length)
        print(json.dumps(document, indent=2) if as_json else "\n".join(lines), file=stdout)
