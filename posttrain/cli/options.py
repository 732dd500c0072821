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
FromStep = Annotated[
    int | None,
    typer.Option("--from", metavar="STEP", help="Go on from the kept checkpoint of this step; later ones are dropped."),
]
MaxMinutes = Annotated[
    float | None,
    typer.Option(
        "--max-minutes",
        min=0,
        help="Be done after so many minutes: stop in time to save, with exit code 143. The same command goes on.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]

# Of commands that look at rows, of a source or of a recipe.
SourceOrRecipe = Annotated[
    str,
    typer.Argument(metavar="SOURCE|RECIPE", help="A file, a glob or a hub data set; or a recipe (.yaml, .yml)."),
]
StageOfRows = Annotated[
    str | None, typer.Option("--stage", help="What the source's rows are for; absent: found from their columns.")
]
PartOfRecipe = Annotated[
    str | None, typer.Option("--part", help="Which of the recipe's rows: train, dev, unseen or problems.")
]
SourceName = Annotated[str, typer.Argument(metavar="SOURCE", help="A file, a glob, a URL or a hub data set.")]
NewFile = Annotated[Path, typer.Option("--out", help="The file to write: .jsonl, .jsonl.gz or .parquet.")]
Force = Annotated[bool, typer.Option("--force", help="Write over what is there.")]
Subset = Annotated[str | None, typer.Option("--subset", help="A hub data set's configuration.")]
Split = Annotated[str | None, typer.Option("--split", help="A hub data set's split; absent: train.")]
Revision = Annotated[str | None, typer.Option("--revision", help="A hub data set's branch, tag or commit.")]
Columns = Annotated[
    list[str] | None,
    typer.Option("--columns", metavar="OURS=THEIRS", help="Rename a column, e.g. prompt=question; again for more."),
]
FormatName = Annotated[
    str | None, typer.Option("--format", help="The source's row format; absent: found. `data formats` lists them.")
]
TokenizerOf = Annotated[
    str | None,
    typer.Option("--model", help="Whose tokenizer and chat template; absent: the recipe's, or builtin:tiny."),
]
MaxLength = Annotated[
    int | None, typer.Option("--max-length", min=1, help="Tokens a row, in place of the recipe's train.max_length.")
]


def piped(model: str | None, command: str) -> str | None:
    """Return the model's name, read from stdin where it is ``-``."""
    from posttrain.launch.start import parent_from_pipe

    return parent_from_pipe(command) if model == "-" else model
