"""The commands: parse, then one call. Nothing heavy is imported before it is needed."""

from __future__ import annotations

import os
import sys
from typing import Annotated, NoReturn

import typer

from posttrain import __version__, stopping
from posttrain.cli import advice, cleaning, data, evals, feedback, launch, memory, recipes, reports, shaping, stages
from posttrain.errors import EXIT_CRASH, Stopped, UserError
from posttrain.plain_output import print_plainly

app = typer.Typer(
    name="posttrain",
    help="Make a good instruct model better at your task.",
    epilog="Every command: --debug shows the traceback of an error. Exit codes: 0 done, 1 crash, 2 something "
    "to mend, 3 a gate said no, 130 stopped by Ctrl-C, 143 by another signal or a time limit.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _stage, _summary in {
    "sft": "Supervised fine-tuning: imitate example answers (about 1,000 rows).",
    "dpo": "Direct preference optimization: chosen over rejected answers.",
    "kto": "Kahneman-Tversky optimization: thumbs up and thumbs down.",
    "rlvr": "Reinforcement learning with verifiable rewards: problems and a grader.",
}.items():
    app.command(_stage)(stages.stage_command(_stage, _summary))
app.command("advise")(advice.advise)
app.command("eval")(evals.eval_)
app.command("signal")(evals.signal)
app.command("sample")(evals.sample)
app.command("check")(stages.check)
app.command("memory")(memory.memory)
app.command("grade")(evals.grade)
app.command("runs")(stages.runs)
app.command("report")(reports.report)

data_app = typer.Typer(help="Look at rows, and shape them.", no_args_is_help=True, rich_markup_mode=None)
data_app.command("formats")(data.formats)
data_app.command("convert")(shaping.convert)
data_app.command("mix")(shaping.mix)
data_app.command("split")(shaping.split)
data_app.command("sample")(shaping.sample)
data_app.command("feedback")(feedback.feedback)
data_app.command("dedup")(cleaning.dedup)
data_app.command("decontaminate")(cleaning.decontaminate)
data_app.command("show")(data.show)
data_app.command("stats")(data.stats)
app.add_typer(data_app, name="data")

recipe_app = typer.Typer(
    help="Shipped recipes, and the schema for editors.", no_args_is_help=True, rich_markup_mode=None
)
recipe_app.command("list")(recipes.list_)
recipe_app.command("copy")(recipes.copy)
recipe_app.command("schema")(recipes.schema)
recipe_app.command("from-openai")(recipes.from_openai)
app.add_typer(recipe_app, name="recipe")

launch_app = typer.Typer(help="Files that start a run elsewhere.", no_args_is_help=True, rich_markup_mode=None)
launch_app.command("slurm")(launch.slurm)
app.add_typer(launch_app, name="launch")


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
    print_plainly()
    stopping.listen()
    sys.exit(_run(arguments, debug))


def _run(arguments: list[str], debug: bool) -> int:
    try:
        app(arguments, prog_name="posttrain")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except Stopped as stop:
        print(stopping.last_words(stop), file=sys.stderr)
        return stop.exit_code
    except UserError as error:
        if debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        return EXIT_CRASH
    return 0
