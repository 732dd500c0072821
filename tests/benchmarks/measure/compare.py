"""A stage trained by each side in turns: what each run took, and what that comes to."""

from __future__ import annotations

import json
import math
import os
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from measure.marks import Marks, largest_difference, read_marks, steady
from measure.processes import RunFailed, Usage, run
from measure.rows import Lengths, Writer, make_rows, write_rows
from measure.sides import SECONDS_A_RUN, SEED, SIDES, Job, Side, environment, prepare, recipe
from measure.work import Shape, Tokens, step_flops, tokens_of_row, total

LOSSES_WITHIN = 1e-3
GRADIENTS_WITHIN = 0.02  # of each other, the gradients' norms: a preference loss says little while the model is new
SECONDS_TO_MULTIPLY = 600.0
LENGTHS_WITHIN = 0.1  # of each other, RLVR's mean completion lengths over the run
REWARDS_WITHIN = 0.05  # RLVR's mean rewards over the run, which lie between 0 and 1


@dataclass(frozen=True)
class Run:
    """One run of one side."""

    side: Side
    usage: Usage
    marks: Marks


@dataclass(frozen=True)
class Figures:
    """A side's medians over the rounds. `share` is of the machine's rate of matrix products.

    `ratio` and `whole_ratio` are this side's seconds by those of posttrain in the same round, for a steady step and
    for the whole run: how many times as fast posttrain is. `processor_ratio` is the first by seconds of processor.
    """

    side: Side
    threads: int
    step_seconds: float
    step_processor: float
    rows_a_second: float
    tokens_a_second: float
    share: float
    whole_seconds: float
    whole_processor: float
    first_step_after: float
    memory_mb: float
    cuda_mb: float
    ratio: float
    processor_ratio: float
    whole_ratio: float


@dataclass(frozen=True)
class Comparison:
    """A stage compared: its settings, each side's figures, and how far the sides are apart in what they learned.

    `apart` has by side the ``differences`` to posttrain in the first round, `agree` whether they are within bounds.
    `failure` is why there are fewer rounds than asked for.
    """

    stage: str
    steps: int
    rounds: int
    tokens_a_step: float
    rate: float
    figures: list[Figures]
    apart: dict[str, dict[str, float]]
    agree: bool
    failure: str | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def compare_each(jobs: Iterable[tuple[Job, Lengths]], folder: Path, **how: Any) -> tuple[list[Comparison], bool]:
    """Compare each job (``compare``), in a folder of its stage's name; return what could be compared, and whether all
    could. What could not is said on stderr, and so is each run."""
    compared, failed = [], False
    for job, lengths in jobs:
        try:
            compared.append(compare(job, folder / job.stage, lengths=lengths, say=_aside, **how))
        except RunFailed as error:
            _aside(f"{job.stage}: {error}")
            failed = True
    return compared, not failed


def conclude(compared: Sequence[Comparison], complete: bool, written: Path | None) -> int:
    """Write the figures as JSON where asked; return the exit code: 1 where a run failed or the losses do not agree."""
    if written:
        written.write_text(json.dumps([each.to_json() for each in compared], indent=1), encoding="utf-8")
    return int(not complete or not all(each.agree and not each.failure for each in compared))


def _aside(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def compare(
    job: Job,
    folder: Path,
    *,
    lengths: Lengths,
    rounds: int,
    warmup: int,
    sides: Sequence[Side] = SIDES,
    limit: float = SECONDS_A_RUN,
    until: float = math.inf,
    rows: list[dict[str, Any]] | None = None,
    say: Callable[[str], None] = print,
) -> Comparison:
    """Train `job` by each of the sides in turns, `rounds` times; `warmup` steps of each run are not steady yet.

    A run fails, too, that takes longer than `limit` seconds or is not done when the monotonic clock says `until`.
    Rounds before a failure count, and the comparison says what failed; without one RunFailed is raised, with the end of
    the run's output.
    """
    if warmup >= job.steps:
        raise ValueError(f"{job.steps} steps, and the first {warmup} do not count")
    folder.mkdir(parents=True, exist_ok=True)
    rows = rows or make_rows(job.stage, job.rows, lengths, Writer(job.model, SEED))
    if len(rows) < job.rows:
        raise RunFailed(f"{job.rows} rows are needed for {job.steps} steps, and there are {len(rows)}")
    files = {"posttrain": folder / "rows.jsonl", "trl": folder / "rows-in-order.jsonl"}
    write_rows(files["posttrain"], rows[: job.rows])
    order, tokens = order_and_tokens(job, files["posttrain"], folder)
    write_rows(files["trl"], [rows[number] for number in order])
    rounds_done: list[list[Run]] = []
    speeds: list[tuple[Shape, float]] = []
    failure = None
    for number in range(1, rounds + 1):
        try:
            speed = machine(job, total(tokens), folder / f"{number}-machine", until)
            runs = []
            for side in sides:
                place = folder / f"{number}-{side.replace(', ', '-')}"
                rows_of_side = files["posttrain" if side == "posttrain" else "trl"]
                runs.append(one_run(job, side, rows_of_side, place, min(limit, until - time.monotonic())))
                say(f"{job.stage}, round {number}, {side}: {told(runs[-1], warmup)}")
        except RunFailed as error:
            if not rounds_done:
                raise
            failure = f"round {number}: {error}"
            break
        rounds_done.append(runs)
        speeds.append(speed)
    rate = max(speed for _, speed in speeds)  # what else the machine does can only slow it
    return summed_up(job, rounds_done, tokens, Machine(speeds[0][0], rate), warmup, failure)


def one_run(job: Job, side: Side, rows: Path, folder: Path, limit: float) -> Run:
    """Train by one side in a folder of its own; of what it leaves there, settings, log and marks are kept."""
    shutil.rmtree(folder, ignore_errors=True)
    command = prepare(job, side, rows, folder)
    usage = run(command, folder=folder, environ=environment(job, side, folder), limit=limit)
    for emptied in ("run", "hf", "cache", "inductor"):
        shutil.rmtree(folder / emptied, ignore_errors=True)
    return Run(side, usage, read_marks(folder / "marks.jsonl", job.steps))


def told(run: Run, warmup: int) -> str:
    step, used = steady(run.marks.seconds, warmup), steady(run.marks.processor, warmup)
    whole = f"{run.usage.seconds:.1f} s whole ({run.usage.processor:.1f} s of processor)"
    return f"{step:.3f} s a step ({used:.3f} s of processor), {whole}, {run.usage.memory / 1e6:,.0f} MB"


def order_and_tokens(job: Job, rows: Path, folder: Path) -> tuple[list[int], list[Tokens]]:
    """Return the rows' numbers in the order that posttrain trains on them, and the tokens of each in that order."""
    import pyarrow as pa
    from transformers import AutoTokenizer

    from posttrain.data.load import load_data
    from posttrain.data.prepare import prepare_rows
    from posttrain.recipe.schema import Recipe
    from posttrain.stages.arguments import token_settings
    from posttrain.stages.kto import spread_labels

    os.environ["POSTTRAIN_CACHE"] = str(folder / "cache")
    read = Recipe.model_validate(recipe(job, rows))
    loaded = load_data(read.data, read.stage, seed=read.seed)
    made = prepare_rows(
        loaded.train, job.stage, AutoTokenizer.from_pretrained(job.model), token_settings(read, job.stage)
    )
    if len(made.dataset) != job.rows:
        raise RunFailed(f"posttrain keeps {len(made.dataset)} of {job.rows} rows: {made.summary}")
    places = list(range(job.rows))
    if job.stage == "kto":
        places = spread_labels(pa.table({"label": made.dataset["label"], "place": places}))["place"].to_pylist()
    tokens = [tokens_of_row(job.stage, made.dataset[place]) for place in places]
    return [int(loaded.train.order[place]) for place in places], tokens


def machine(job: Job, tokens: Tokens, folder: Path, until: float) -> tuple[Shape, float]:
    """Return the model's shape and the rate of its matrix products at the size of this job's steps."""
    sampled = job.samples * job.completion * job.batch if job.stage == "rlvr" else 0
    options = {
        "--tokens": max(1, tokens.all // job.steps + sampled),
        "--head-tokens": max(1, tokens.read // job.steps + sampled),
        "--dtype": "bfloat16" if job.half else "float32",
        "--device": "cuda" if job.gpu else "cpu",
    }
    command = [sys.executable, str(Path(__file__).with_name("matmul.py")), str(job.model)]
    command += [str(each) for option in options.items() for each in option]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    seconds = min(SECONDS_TO_MULTIPLY, until - time.monotonic())
    run(command, folder=folder, environ=environment(job, "posttrain", folder), limit=seconds)
    found = json.loads((folder / "log").read_text(encoding="utf-8").splitlines()[-1])
    return Shape(found["layers"], found["width"], found["vocabulary"]), found["rate"]


@dataclass(frozen=True)
class Machine:
    shape: Shape
    rate: float


def summed_up(
    job: Job,
    runs: list[list[Run]],
    tokens: list[Tokens],
    machine: Machine,
    warmup: int,
    failure: str | None = None,
) -> Comparison:
    """Return the comparison from the runs of each round."""
    figures = [
        side_figures(job, [rounds[index] for rounds in runs], [rounds[0] for rounds in runs], tokens, machine, warmup)
        for index in range(len(runs[0]))
    ]
    apart = {run.side: differences(job.stage, runs[0][0].marks, run.marks) for run in runs[0][1:]}
    return Comparison(
        stage=job.stage,
        steps=job.steps,
        rounds=len(runs),
        tokens_a_step=steady_tokens(job, runs[0][0].marks, tokens, 0).all,
        rate=machine.rate,
        figures=figures,
        apart=apart,
        agree=all(within(job.stage, found) for found in apart.values()),
        failure=failure,
    )


def side_figures(
    job: Job, own: list[Run], first: list[Run], tokens: list[Tokens], machine: Machine, warmup: int
) -> Figures:
    """Return a side's figures from its runs and, round for round, those of the first side."""

    def median(of: Callable[[Run], float]) -> float:
        return statistics.median(map(of, own))

    def against(of: Callable[[Run], float]) -> float:
        return statistics.median(of(run) / of(other) for run, other in zip(own, first, strict=True))

    def step(run: Run) -> float:
        return steady(run.marks.seconds, warmup)

    def used(run: Run) -> float:
        return steady(run.marks.processor, warmup)

    def done(run: Run) -> Tokens:
        return steady_tokens(job, run.marks, tokens, warmup)

    rows = job.batch * (job.samples if job.stage == "rlvr" else 1)
    return Figures(
        side=own[0].side,
        threads=own[0].marks.threads,
        step_seconds=median(step),
        step_processor=median(used),
        rows_a_second=median(lambda run: rows / step(run)),
        tokens_a_second=median(lambda run: done(run).all / step(run)),
        share=median(lambda run: step_flops(job.stage, done(run), machine.shape) / step(run) / machine.rate),
        whole_seconds=median(lambda run: run.usage.seconds),
        whole_processor=median(lambda run: run.usage.processor),
        first_step_after=median(lambda run: run.marks.first_step - run.usage.started),
        memory_mb=median(lambda run: run.usage.memory / 1e6),
        cuda_mb=median(lambda run: run.marks.cuda_bytes / 1e6),
        ratio=against(step),
        processor_ratio=against(used),
        whole_ratio=against(lambda run: run.usage.seconds),
    )


def steady_tokens(job: Job, marks: Marks, tokens: list[Tokens], warmup: int) -> Tokens:
    """Return the tokens of an average step after the warm-up; RLVR's completions are as long as the run says."""
    steps = job.steps - warmup
    if job.stage == "rlvr":
        prompt = sum(each.prompt for each in tokens) // job.steps
        length = steady(marks.logged("completions/mean_length"), warmup)
        sampled = round(job.batch * job.samples * length)
        return Tokens(prompt, sampled, sampled)
    return Tokens(*(round(count / steps) for count in total(tokens[warmup * job.batch :])))


def differences(stage: str, ours: Marks, theirs: Marks) -> dict[str, float]:
    """Return how far two runs are apart where they are furthest: their losses, and their gradients' norms as a share.

    For RLVR, which samples, it is the means over the run: of the lengths as a share, and of the rewards.
    """
    if stage != "rlvr":
        norms = zip(ours.logged("grad_norm"), theirs.logged("grad_norm"), strict=True)
        return {
            "loss": largest_difference(ours.logged("loss"), theirs.logged("loss")),
            "gradient": largest_difference([a / b for a, b in norms], [1.0] * len(ours.logs)),
        }
    length, reward = (
        [steady(marks.logged(name), 0) for marks in (ours, theirs)] for name in ("completions/mean_length", "reward")
    )
    return {"length": abs(length[0] - length[1]) / length[1], "reward": abs(reward[0] - reward[1])}


def within(stage: str, found: dict[str, float]) -> bool:
    bounds = {"loss": LOSSES_WITHIN, "gradient": GRADIENTS_WITHIN, "length": LENGTHS_WITHIN, "reward": REWARDS_WITHIN}
    return all(value <= bounds[name] for name, value in found.items())
