"""One rank: joins the others, runs the stage, leaves its error where the process that started it looks."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import NoReturn

from posttrain import stopping
from posttrain.data.load import load_data
from posttrain.errors import Stopped, UserError
from posttrain.launch.agreement import about, agree
from posttrain.launch.failure import exit_code_of, write_failure
from posttrain.launch.plan import PARENT_PID
from posttrain.launch.ranks import joined_ranks
from posttrain.model.resolve import resolve_model
from posttrain.plain_output import print_plainly
from posttrain.recipe.load import load_recipe
from posttrain.runs import directory
from posttrain.runs.lock import rank_in

_PARENT_POLL_SECONDS = 1.0
_ORPHAN_GRACE_SECONDS = 30.0


def run_rank(run: Path, work: Callable[[Path], object]) -> int:
    """Do `work(run)` as the rank that the environment names; return the exit code.

    What it raises, or another rank before it, is left in the run's logs for the process that started us; with nobody
    there it is printed.
    """
    os.dup2(2, 1)  # stdout is the result's, and the result is printed by the process that started the ranks
    parent = os.environ.get(PARENT_PID)
    if parent:
        threading.Thread(target=_end_with, args=(int(parent),), daemon=True).start()
    stopping.listen()
    stopping.take_limits()

    def tell(error: BaseException) -> int:
        if not isinstance(error, Stopped):
            write_failure(run, int(os.environ.get("RANK", "0")), error)
        if not parent:
            say_why(error)
        return exit_code_of(error)

    try:
        with rank_in(run) if run.is_dir() else nullcontext(), joined_ranks(run, lambda error: end_rank(tell(error))):
            work(run)
        return 0
    except BaseException as error:
        if (number := stopping.asked()) and not isinstance(error, UserError):
            error = Stopped(number)  # whatever another rank's end has made of it
        return tell(error)


def _end_with(parent: int) -> None:
    """End this process soon after `parent` is gone: softly, then surely."""
    while os.getppid() == parent:
        time.sleep(_PARENT_POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_ORPHAN_GRACE_SECONDS)
    os.killpg(0, signal.SIGKILL)


def say_why(error: BaseException) -> None:
    """Print the error that a rank ends with."""
    if isinstance(error, UserError | Stopped):
        print(f"error: {error}", file=sys.stderr)
    else:
        traceback.print_exception(error)


def _run_stage(run: Path) -> None:
    recipe = load_recipe(run / directory.RECIPE, stage=None).recipe
    rows = load_data(recipe.data, recipe.stage, seed=recipe.seed)
    if "RANK" in os.environ:
        parent = resolve_model(recipe.model)
        agree(about(recipe.model_dump(mode="json"), rows=rows.digest, model=parent.digest))
    from posttrain.stages.train import run_stage

    run_stage(run, rows)


def main() -> NoReturn:
    """``python -m posttrain.launch.worker RUN``: run the stage of a run directory as one rank of it."""
    print_plainly()
    end_rank(run_rank(Path(sys.argv[1]), _run_stage))


def end_rank(code: int) -> NoReturn:
    """End this process as it is. The ordinary way out waits for ranks that are gone after a failure, and now and
    then aborts in the threads of a process group that peers are leaving too."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
