"""What judges models and rows: eval, signal, sample, grade."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from posttrain import stopping
from posttrain.cli.options import AsJson, MaxMinutes, ModelName, Out, RecipePath, Seed, Sets, piped
from posttrain.errors import GateError, UserError


def eval_(
    recipe: RecipePath,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", help="A model to score, again for each; `base` is the recipe's own model."),
    ] = None,
    unseen: Annotated[bool, typer.Option("--unseen", help="Score data.unseen in place of data.dev.")] = False,
    baseline: Annotated[
        str | None, typer.Option("--baseline", help="The line to compare the others with; the first when left out.")
    ] = None,
    out: Out = None,
    seed: Seed = None,
    set_: Sets = None,
    max_minutes: MaxMinutes = None,
    as_json: AsJson = False,
) -> None:
    """Score models on held-out problems: pass@k, maj@k, standard errors, paired differences.

    With `out` every completion is kept, and an interrupted eval goes on. Exit code 3 when a model does not reach
    what the recipe's eval.require asks for.

    Example: posttrain eval eval.yaml --model base --model runs/sft --model runs/rlvr
    """
    from posttrain.evals.compare import compare_models
    from posttrain.evals.table import render
    from posttrain.launch.start import reserved_stdout

    models = [piped(name, "eval") or name for name in model or []]
    stopping.take_limits(max_minutes, time.time() if "-" in (model or []) else None)
    with reserved_stdout() as stdout:
        document = compare_models(
            recipe, models, unseen=unseen, baseline=baseline, out=out, seed=seed, overrides=set_ or []
        )
        print(json.dumps(document, indent=2) if as_json else render(document), file=stdout)
    missed = [verdict for verdict in document["require"] if not verdict["passed"]]
    if missed:
        labels = ", ".join(dict.fromkeys(verdict["label"] for verdict in missed))
        raise GateError(f"below what eval.require asks for: {labels}")


Attempts = Annotated[
    int | None, typer.Option("--samples", min=1, help="Completions a problem; train.num_generations when left out.")
]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="At most so many training problems.")]


def signal(
    recipe: RecipePath,
    model: ModelName = None,
    samples: Attempts = None,
    limit: Limit = None,
    out: Annotated[str | None, typer.Option("--out", help="Where it is kept; RUN-signal when left out.")] = None,
    seed: Seed = None,
    set_: Sets = None,
    max_minutes: MaxMinutes = None,
    as_json: AsJson = False,
) -> None:
    """Tell whether rlvr has anything to learn from, before it is trained: attempts at every training problem.

    Shows how many problems are never, sometimes and always solved, and writes those that teach to
    OUT/problems.jsonl. Exit code 3 when there is nothing to learn from.

    Example: posttrain signal rlvr.yaml --model runs/sft
    """
    from posttrain.evals import attempts
    from posttrain.launch.start import reserved_stdout

    source = piped(model, "signal")
    stopping.take_limits(max_minutes, time.time() if model == "-" else None)
    with reserved_stdout() as stdout:
        tried = attempts.attempt(
            recipe,
            model=source,
            samples=samples,
            limit=limit,
            out=out,
            seed=seed,
            overrides=set_ or [],
            suffix="signal",
        )
        look, document = attempts.signal(tried)
        print(json.dumps(document, indent=2) if as_json else attempts.render_signal(look, document), file=stdout)
    if look.nothing_to_learn:
        raise GateError(look.advice, where="no signal")


def sample(
    recipe: RecipePath,
    model: ModelName = None,
    samples: Attempts = None,
    limit: Limit = None,
    best: Annotated[int, typer.Option("--best", min=1, help="At most so many rows a problem in each file.")] = 1,
    out: Annotated[str | None, typer.Option("--out", help="Where it is kept; RUN-sample when left out.")] = None,
    seed: Seed = None,
    set_: Sets = None,
    max_minutes: MaxMinutes = None,
    as_json: AsJson = False,
) -> None:
    """Make training rows from a model's own graded completions: rejection sampling.

    Reads an rlvr recipe, samples its training problems and writes OUT/sft.jsonl (the best completions),
    OUT/dpo.jsonl (a right one over a wrong one) and OUT/kto.jsonl (labelled ones). Interrupted, it goes on.

    Example: posttrain sample rlvr.yaml --model runs/sft --samples 16
    """
    from posttrain.evals import attempts
    from posttrain.launch.start import reserved_stdout

    source = piped(model, "sample")
    stopping.take_limits(max_minutes, time.time() if model == "-" else None)
    with reserved_stdout() as stdout:
        tried = attempts.attempt(
            recipe,
            model=source,
            samples=samples,
            limit=limit,
            out=out,
            seed=seed,
            overrides=set_ or [],
            suffix="sample",
        )
        document = attempts.harvest(tried, best=best)
        print(json.dumps(document, indent=2) if as_json else attempts.render_harvest(document), file=stdout)


def grade(
    grader: Annotated[Path, typer.Argument(metavar="GRADER", help="A YAML or JSON file with one grader.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSONL: the problem's fields and `completion`.")],
    probe: Annotated[
        bool,
        typer.Option(
            "--probe",
            help="Try the grader itself on the problems: gold, empty and wrong answers, time. Exit code 3 if unfit.",
        ),
    ] = False,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="At most so many rows.")] = None,
    as_json: AsJson = False,
) -> None:
    """Grade completions offline with the grader a recipe would use, or probe that grader.

    Example: posttrain grade grader.yaml completions.jsonl
    """
    from posttrain.evals import offline
    from posttrain.evals import probe as probing
    from posttrain.launch.start import reserved_stdout

    with reserved_stdout() as stdout:  # a grader in Python may print
        document = (probing.probe_file if probe else offline.grade_file)(grader, file, limit)
        render = probing.render if probe else offline.render
        print(json.dumps(document) if as_json else render(document), file=stdout)
    if not probe and document["rows"] and document["errors"] == len(document["rows"]):
        raise UserError("no row could be graded", where=str(grader), fix="mend the grader: each row says what failed")
    if probe and document["verdict"] == "fail":
        raise GateError(f"not fit to pay a reward: {probing.failures(document)}", where=str(grader))
