"""The commands: parse, then one call. Nothing heavy is imported before it is needed."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from posttrain import __version__
from posttrain.errors import EXIT_CRASH, EXIT_INTERRUPTED, GateError, Stopped, UserError

app = typer.Typer(
    name="posttrain",
    help="Make a good instruct model better at your task.",
    epilog="Every command: --debug shows the traceback of an error. Exit codes: 0 done, 1 crash, 2 something "
    "to mend, 3 a gate said no, 130/143 stopped and resumable.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
recipe_app = typer.Typer(
    help="Shipped recipes, and the schema for editors.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(recipe_app, name="recipe")

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


def _piped(model: str | None, command: str) -> str | None:
    """Return the model's name, read from stdin where it is ``-``."""
    from posttrain.launch.start import parent_from_pipe

    return parent_from_pipe(command) if model == "-" else model


def _stage_command(stage: str, summary: str) -> None:
    """Add the command of one stage."""

    def command(
        recipe: RecipePath,
        model: ModelName = None,
        out: Out = None,
        seed: Seed = None,
        set_: Sets = None,
        fresh: Fresh = False,
    ) -> None:
        from posttrain.launch.start import start_stage

        start_stage(stage, recipe, model=model, out=out, seed=seed, overrides=set_ or [], fresh=fresh)

    command.__doc__ = (
        f"{summary}\n\nPrints the path of the finished checkpoint; everything else goes to stderr. Run again, a "
        f"finished run returns at once and an interrupted one resumes.\n\nExample: posttrain {stage} {stage}.yaml "
        "--set train.learning_rate=1e-5"
    )
    app.command(name=stage)(command)


_stage_command("sft", "Supervised fine-tuning: imitate example answers (about 1,000 rows).")
_stage_command("dpo", "Direct preference optimization: chosen over rejected answers.")
_stage_command("kto", "Kahneman-Tversky optimization: thumbs up and thumbs down.")
_stage_command("rlvr", "Reinforcement learning with verifiable rewards: problems and a grader.")


@app.command("eval")
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

    models = [_piped(name, "eval") or name for name in model or []]
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


@app.command()
def signal(
    recipe: RecipePath,
    model: ModelName = None,
    samples: Attempts = None,
    limit: Limit = None,
    out: Annotated[str | None, typer.Option("--out", help="Where it is kept; RUN-signal when left out.")] = None,
    seed: Seed = None,
    set_: Sets = None,
    as_json: AsJson = False,
) -> None:
    """Tell whether rlvr has anything to learn from, before it is trained: attempts at every training problem.

    Shows how many problems are never, sometimes and always solved, and writes those that teach to
    OUT/problems.jsonl. Exit code 3 when there is nothing to learn from.

    Example: posttrain signal rlvr.yaml --model runs/sft
    """
    from posttrain.evals import attempts
    from posttrain.launch.start import reserved_stdout

    with reserved_stdout() as stdout:
        tried = attempts.attempt(
            recipe,
            model=_piped(model, "signal"),
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


@app.command()
def sample(
    recipe: RecipePath,
    model: ModelName = None,
    samples: Attempts = None,
    limit: Limit = None,
    best: Annotated[int, typer.Option("--best", min=1, help="At most so many rows a problem in each file.")] = 1,
    out: Annotated[str | None, typer.Option("--out", help="Where it is kept; RUN-sample when left out.")] = None,
    seed: Seed = None,
    set_: Sets = None,
    as_json: AsJson = False,
) -> None:
    """Make training rows from a model's own graded completions: rejection sampling.

    Reads an rlvr recipe, samples its training problems and writes OUT/sft.jsonl (the best completions),
    OUT/dpo.jsonl (a right one over a wrong one) and OUT/kto.jsonl (labelled ones). Interrupted, it goes on.

    Example: posttrain sample rlvr.yaml --model runs/sft --samples 16
    """
    from posttrain.evals import attempts
    from posttrain.launch.start import reserved_stdout

    with reserved_stdout() as stdout:
        tried = attempts.attempt(
            recipe,
            model=_piped(model, "sample"),
            samples=samples,
            limit=limit,
            out=out,
            seed=seed,
            overrides=set_ or [],
            suffix="sample",
        )
        document = attempts.harvest(tried, best=best)
        print(json.dumps(document, indent=2) if as_json else attempts.render_harvest(document), file=stdout)


@app.command()
def check(recipe: RecipePath, model: ModelName = None, set_: Sets = None, as_json: AsJson = False) -> None:
    """Find every error of a recipe, its graders and its rows, without loading a model.

    Example: posttrain check sft.yaml
    """
    from posttrain.launch.start import reserved_stdout
    from posttrain.recipe.check import check_recipe

    with reserved_stdout() as stdout:  # a grader in Python may print
        lines = check_recipe(recipe, overrides=set_ or [], model=_piped(model, "check"))
        print(json.dumps({"ok": True, "report": lines}) if as_json else "\n".join(lines), file=stdout)


@app.command()
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
        print(json.dumps(document, ensure_ascii=False) if as_json else render(document), file=stdout)
    if not probe and document["rows"] and document["errors"] == len(document["rows"]):
        raise UserError("no row could be graded", where=str(grader), fix="mend the grader: each row says what failed")
    if probe and document["verdict"] == "fail":
        raise GateError(f"not fit to pay a reward: {probing.failures(document)}", where=str(grader))


@app.command()
def runs(
    directory: Annotated[Path, typer.Argument(help="Where to look.")] = Path("runs"), as_json: AsJson = False
) -> None:
    """List the runs below a directory: stage, parent, and what each reached.

    Example: posttrain runs
    """
    from posttrain.runs.listing import list_runs, render

    found = list_runs(directory)
    print(json.dumps([run._asdict() for run in found], indent=2) if as_json else render(found, directory))


@recipe_app.command("list")
def recipe_list(as_json: AsJson = False) -> None:
    """List the recipes that come with posttrain.

    Example: posttrain recipe list
    """
    from posttrain.recipe.shipped import list_recipes

    found = list_recipes()
    width = max(len(name) for name, _ in found)
    print(json.dumps(dict(found)) if as_json else "\n".join(f"{name:{width}}  {about}" for name, about in found))


@recipe_app.command("copy")
def recipe_copy(
    name: Annotated[str, typer.Argument(help="A name from `posttrain recipe list`.")],
    to: Annotated[Path, typer.Argument(help="A directory to copy into.")] = Path("."),
) -> None:
    """Copy a shipped recipe, with its data, to start from.

    Example: posttrain recipe copy quickstart my-task
    """
    from posttrain.recipe.shipped import copy_recipe

    for path in copy_recipe(name, to):
        print(path)


@recipe_app.command("schema")
def recipe_schema(
    stage: Annotated[str | None, typer.Argument(help="sft, dpo, kto, rlvr or eval; all of them when left out.")] = None,
) -> None:
    """Print the JSON Schema of a recipe, for editors.

    Example: posttrain recipe schema sft > sft.schema.json
    """
    from posttrain.recipe.json_schema import json_schema

    print(json.dumps(json_schema(stage), indent=2))


@recipe_app.command("from-openai")
def recipe_from_openai(
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


def _version(asked: bool) -> None:
    if asked:
        print(f"posttrain {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> NoReturn:
    """Run the command line and exit with its code (see errors.py)."""
    # Read when the libraries are imported: their bars would stand between our lines.
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    sys.exit(_run(arguments, debug))


def _run(arguments: list[str], debug: bool) -> int:
    try:
        app(arguments, prog_name="posttrain")
    except SystemExit as end:
        if end.code == EXIT_INTERRUPTED:
            print("stopped; run the same command again to go on", file=sys.stderr)
        return end.code if isinstance(end.code, int) else 0
    except Stopped as stop:
        print(f"{stop}; run the same command again to go on", file=sys.stderr)
        return stop.exit_code
    except UserError as error:
        if debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        return EXIT_CRASH
    return 0
