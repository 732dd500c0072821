"""`posttrain launch slurm`: the batch file that runs a recipe on a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from posttrain.cli.options import ModelName, Out, RecipePath, Seed, Sets
from posttrain.errors import UserError


def slurm(
    recipe: RecipePath,
    nodes: Annotated[int, typer.Option("--nodes", min=1, help="Machines.")] = 1,
    gpus_per_node: Annotated[
        int | None, typer.Option("--gpus-per-node", min=1, help="GPUs on each; one task drives one.")
    ] = None,
    ntasks_per_node: Annotated[
        int | None, typer.Option("--ntasks-per-node", min=1, help="Tasks on each, without GPUs; absent: 1.")
    ] = None,
    cpus_per_task: Annotated[int | None, typer.Option("--cpus-per-task", min=1, help="Cores for each task.")] = None,
    time: Annotated[
        str | None,
        typer.Option("--time", help="Time limit, e.g. 24:00:00; the job goes on in another when it is over."),
    ] = None,
    partition: Annotated[str | None, typer.Option("--partition", help="Partition of the cluster.")] = None,
    account: Annotated[str | None, typer.Option("--account", help="Account that pays.")] = None,
    sbatch: Annotated[
        list[str] | None,
        typer.Option("--sbatch", metavar="OPTION", help="Another option of sbatch, e.g. --sbatch=--mem=200G."),
    ] = None,
    model: ModelName = None,
    out: Out = None,
    seed: Seed = None,
    set_: Sets = None,
    to: Annotated[Path | None, typer.Option("--to", metavar="FILE", help="Write it there, not to stdout.")] = None,
) -> None:
    """Write the sbatch file that runs a recipe under SLURM, and make the directory for its logs.

    Example: posttrain launch slurm sft.yaml --nodes 2 --gpus-per-node 8 --time 24:00:00 --to sft.sbatch
    """
    from posttrain.launch.sbatch import Machines, write_batch
    from posttrain.launch.start import check_launch

    machines = Machines(
        nodes, gpus_per_node, ntasks_per_node, cpus_per_task, time, partition, account, tuple(sbatch or ())
    )
    loaded = check_launch(recipe, ranks=nodes * machines.tasks, model=model, out=out, seed=seed, overrides=set_ or [])
    stage, run = loaded.recipe.stage, Path(str(loaded.recipe.out))
    given = {"--model": model, "--out": out, "--seed": seed}
    options = [text for name, value in given.items() if value is not None for text in (name, str(value))]
    options += [text for override in set_ or [] for text in ("--set", override)]
    text = write_batch(machines, [stage, str(recipe), *options], name=run.name, run=run, directory=Path.cwd())
    (run / "logs").mkdir(parents=True, exist_ok=True)  # without it SLURM drops the job's output
    if to is None:
        print(text, end="")
        return
    try:
        to.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{to} cannot be written: {error.strerror}", where="--to") from None
