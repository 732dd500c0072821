"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="The recipe, a YAML file.")]
ModelName = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="Start from this: a hub id, a directory, a run, an adapter, a .gguf file, builtin:tiny, or - to read "
        "the line of the stage before from stdin.",
    ),
]
Out = Annotated[str | None, typer.Option("--out", help="The run directory.")]
Seed = Annotated[int | None, typer.Option("--seed", help="Seed of everything random.")]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key, e.g. train.learning_rate=1e-5."),
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Throw away what the run directory holds and start over.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


def piped(model: str | None, command: str) -> str | None:
    """Return the model's name, read from stdin where it is ``-``."""
    from posttrain.launch.start import parent_from_pipe

    return parent_from_pipe(command) if model == "-" else model
