"""From a stage's command line to its finished checkpoint: every check that needs no model, then the launch."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NoReturn, TextIO

from posttrain import stopping
from posttrain.data.load import load_data
from posttrain.errors import EXIT_USER, Stopped, UserError
from posttrain.launch.agreement import about, agree
from posttrain.launch.failure import exit_code_of
from posttrain.launch.plan import Plan, make_plan
from posttrain.launch.ranks import from_first_rank, joined_ranks
from posttrain.launch.smaller import run_smaller_and_smaller
from posttrain.launch.supervise import run_plan
from posttrain.launch.worker import end_rank, say_why
from posttrain.model.resolve import Parent, check_whole, resolve_model
from posttrain.plain_output import bare, plain_result_stream
from posttrain.recipe.check import check_groups, check_problems
from posttrain.recipe.explain import value_at
from posttrain.recipe.load import LoadedRecipe, dump_recipe, load_recipe
from posttrain.recipe.paths import grader_paths
from posttrain.recipe.yaml_lines import dotted
from posttrain.runs import checkpoints, directory
from posttrain.runs.lock import locked
from posttrain.runs.room import said_if_full
from posttrain.stages.arguments import check_batches, check_reference


@contextmanager
def reserved_stdout() -> Iterator[TextIO]:
    """Keep stdout for the result: while this holds, whatever else writes to stdout, libraries in C included,
    writes to stderr."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with open(kept, "w", encoding="utf-8", closefd=False) as stdout:
            yield plain_result_stream(stdout)
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def start_stage(
    stage: str,
    recipe_path: Path,
    *,
    model: str | None,
    out: str | None,
    seed: int | None,
    overrides: Sequence[str],
    fresh: bool,
    from_step: int | None = None,
    max_minutes: float | None = None,
) -> None:
    """Run one stage and print the path of its finished checkpoint on stdout.

    Everything that can be wrong without a model is found first. The run stops so that it is saved and over after
    `max_minutes`; those in which it waited for the stage before do not count. Raises UserError, GateError or Stopped.
    """

    def read(name: str | None) -> LoadedRecipe:
        return load_recipe(recipe_path, stage=stage, overrides=overrides, model=name, out=out, seed=seed)

    began = None
    with reserved_stdout() as stdout:
        if model == "-":
            read(None)  # a broken recipe is said at once, not when the stage before is done
            model = parent_from_pipe(stage)
            began = time.time()
        stopping.take_limits(max_minutes, began)
        loaded = read(model)
        run = Path(str(loaded.recipe.out))
        plan = make_plan(loaded.recipe.launch, run, environ=os.environ, place=loaded.place)
        is_rank = plan.world_size > 1 and not plan.processes
        try:
            with _placed(loaded):
                check_batches(loaded.recipe, plan.world_size, None if fresh else directory.processes_of(run))
            with said_if_full(run):
                _train(loaded, run, plan, fresh, from_step)
        except BaseException as error:
            if isinstance(error, Stopped):
                error.kept = _kept(run)
            if is_rank:
                _end(error)
            raise
        if plan.is_main:
            print(run / directory.FINAL, file=bare(stdout))  # which the next stage reads
    if is_rank:
        end_rank(0)


def check_launch(
    recipe_path: Path, *, ranks: int, model: str | None, out: str | None, seed: int | None, overrides: Sequence[str]
) -> LoadedRecipe:
    """Return the recipe of a run that another program will start as so many ranks; raises UserError for what cannot
    work."""
    if model == "-":
        raise UserError("a job cannot read the line of a stage before it", where="--model", fix="name the model")
    loaded = load_recipe(recipe_path, stage=None, overrides=overrides, model=model, out=out, seed=seed)
    if loaded.recipe.stage == "eval":
        raise UserError("an eval runs in one process", where=loaded.place("stage"), fix="run `posttrain eval` itself")
    if loaded.recipe.launch.hostfile:
        place = loaded.place("launch.hostfile")
        raise UserError("the machines come from SLURM, not from a hostfile", where=place, fix="leave it out")
    with _placed(loaded):
        check_batches(loaded.recipe, ranks)
    return loaded


def _kept(run: Path) -> str:
    """Return what a stopped run goes on from."""
    checkpoint = checkpoints.newest(run)
    saved = f"step {checkpoints.step_of(checkpoint)} is saved" if checkpoint else "no step is saved yet"
    return f"{saved}; run the same command again to go on"


def _end(error: BaseException) -> NoReturn:
    """End this rank, saying why."""
    say_why(error)
    end_rank(exit_code_of(error))


def parent_from_pipe(stage: str) -> str:
    """Return the line that the stage before printed; when it printed none, leave: it has said why."""
    line = sys.stdin.readline().strip()
    if not line:
        print(f"{stage} not started: nothing came from the stage before it in the pipe", file=sys.stderr)
        sys.exit(EXIT_USER)
    return line


def _train(loaded: LoadedRecipe, run: Path, plan: Plan, fresh: bool, from_step: int | None) -> None:
    """Bring the run to its end, from wherever it is. Under torchrun or SLURM every rank is here."""
    recipe = loaded.recipe
    parent = resolve_model(recipe.model, loaded.place("model.path"))
    _refuse_inside(run, loaded, parent)
    if plan.is_main:
        check_whole(parent, loaded.place("model.path"))
    with _placed(loaded):
        check_reference(recipe, parent)
    rows = load_data(recipe.data, recipe.stage, seed=recipe.seed, place=loaded.place)
    if recipe.graders:
        looked: Any = rows.dev if recipe.stage == "rlvr" else rows.problems
        check_problems(loaded, [*rows.train, *looked] if recipe.stage == "rlvr" else looked)
        check_groups(recipe.eval.group_by, looked, loaded.place("eval.group_by"))
    if plan.is_main:
        for note in rows.notes:
            print(note, file=sys.stderr)

    def planned() -> Plan:
        return make_plan(recipe.launch, run, environ=os.environ, place=loaded.place)

    def opened() -> directory.State:
        with stopping.held():
            state = directory.open_run(
                run,
                dump_recipe(recipe),
                data_digest=rows.digest,
                parent_digest=parent.digest,
                world_size=plan.world_size,
                fresh=fresh,
                from_step=from_step,
            )
        stopping.check()
        return state

    if plan.is_main:
        directory.refuse_foreign(run)  # before anything is written there
    with locked(run) if plan.is_main else nullcontext():
        if plan.processes:
            if not _is_finished(opened(), run):
                try:
                    if recipe.launch.on_out_of_memory == "smaller":
                        run_smaller_and_smaller(recipe, run, planned)
                    else:
                        run_plan(plan)
                finally:
                    checkpoints.clear(run)
            return
        os.environ.update(plan.environ)
        if plan.world_size == 1 and _is_finished(opened(), run):
            return  # before torch is imported
        with joined_ranks(run, _end):
            if plan.world_size > 1:
                agree(about(recipe.model_dump(mode="json"), rows=rows.digest, model=parent.digest))
            if plan.world_size == 1 or not _is_finished(from_first_rank(opened), run):
                from posttrain.stages.train import run_stage

                run_stage(run, rows)


@contextmanager
def _placed(loaded: LoadedRecipe) -> Iterator[None]:
    """Give a UserError that names a key the file and line of that key."""
    try:
        yield
    except UserError as error:
        raise UserError(error.message, where=loaded.place(error.where or ""), fix=error.fix) from None


def _refuse_inside(run: Path, loaded: LoadedRecipe, parent: Parent) -> None:
    """Raise UserError when what the run reads lies in the directory it writes, which --fresh would empty."""
    recipe = loaded.recipe
    read: list[tuple[str, str | None]] = [
        ("model.path", path) for path in (parent.path, *(adapter.path for adapter in parent.adapters))
    ]
    read += [(f"data.train[{i}].path", source.path) for i, source in enumerate(recipe.data.train)]
    raw = recipe.model_dump(mode="json")
    read += [(dotted(loc), value_at(raw, loc)) for loc in grader_paths(raw["graders"])]
    read.append(("model.chat_template", recipe.model.chat_template))
    for key, path in read:
        if path and Path(path).exists() and Path(path).resolve().is_relative_to(run.resolve()):
            raise UserError(
                f"{path} lies inside the run directory {run}", where=loaded.place(key), fix="name another --out"
            )


def _is_finished(state: directory.State, run: Path) -> bool:
    """Tell, and say, whether nothing is left to do."""
    if state == "finished" and os.environ.get("RANK", "0") == "0":
        print(f"{run} is finished already; --fresh starts over", file=sys.stderr)
    return state == "finished"
