"""`posttrain advise`: which methods fit these rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from posttrain.cli.options import AsJson, piped
from posttrain.errors import UserError


def advise(
    data: Annotated[
        list[str], typer.Argument(metavar="DATA...", help="Files, globs, hub data sets, or recipes (.yaml, .yml).")
    ],
    model: Annotated[
        str | None, typer.Option("--model", help="The model to begin from: counts its tokens and what it costs.")
    ] = None,
    eval_out: Annotated[
        Path | None, typer.Option("--eval", metavar="OUT", help="The out directory of an eval: what is right already.")
    ] = None,
    signal_out: Annotated[
        Path | None, typer.Option("--signal", metavar="OUT", help="The out directory of `posttrain signal`.")
    ] = None,
    to: Annotated[Path | None, typer.Option("--to", metavar="DIR", help="Write recipes to start from.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is in --to.")] = False,
    no_cost: Annotated[
        bool, typer.Option("--no-cost", help="Do not measure this machine for memory and time.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Say which methods fit these rows, and why; what they would cost; and write recipes to start from.

    Example: posttrain advise train.jsonl test.jsonl --model builtin:tiny --to start
    """
    from rich.console import Console

    from posttrain.advice.advise import take_advice
    from posttrain.advice.terminal import print_advice
    from posttrain.launch.start import reserved_stdout

    with reserved_stdout() as stdout:
        advised = take_advice(
            data,
            model=piped(model, "advise"),
            eval_out=eval_out,
            signal_out=signal_out,
            to=to,
            force=force,
            with_cost=not no_cost,
        )
        if as_json:
            print(json.dumps(advised.document, indent=2, default=str), file=stdout)
        else:
            print_advice(Console(file=stdout), advised)
    if to and advised.starter is None:
        raise UserError("no method fits yet, so no recipe was written", where="--to", fix="The advice says what to do.")
