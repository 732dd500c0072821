"""Training against TRL's own command line: the same model, rows, order, batch, steps, rate and precision, in turns.

    python tests/benchmarks/training.py                                        # builtin:tiny, minutes
    python tests/benchmarks/training.py --model DIR --steps 100 --rounds 3     # the full case
    python tests/benchmarks/training.py --model DIR --stages dpo --steps 20 --rows pairs.jsonl

For each stage `posttrain STAGE recipe.yaml`, `trl STAGE --config …` as it launches itself (accelerate then gives it
one thread) and the same with OMP_NUM_THREADS at the number of cores run in turns, `--rounds` times, each with empty
caches; of the rounds the median counts, and of the ratios the median of those within a round. Both sides are timed by
the same clock, at the end of each step (injected/sitecustomize.py). Steady are the steps after `--warmup`; the whole
run is the command with its start-up, reading of rows, saving and whatever it compiles. Memory is the highest sum over
the command's processes, shared pages counted once. The share is of the machine's own rate at this model's matrix
products, measured in the same minutes; what counts as work is in measure/work.py.

Both sides start from a seeded generator's rows, of about `--prompt` and `--reply` tokens, in the same order and none
twice, in float32 without gradient checkpointing; all else is each side's default. The losses must agree step by step
within 0.001, the gradients' norms within 2%. RLVR samples `--samples` completions of `--problems` problems a step,
rewarded alike; its losses cannot agree where the two draw other numbers, so mean length and reward are compared.
posttrain leaves out its look for a signal there.

Prints a Markdown table, and exits with 1 if a run failed or the losses do not agree, with 2 for what cannot be run.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from measure.compare import compare_each, conclude
from measure.report import agreement, conditions, training_table
from measure.rows import Lengths, read_rows
from measure.sides import SECONDS_A_RUN, SIDES, TRL_COMMAND, Job


def main() -> int:
    arguments = parse()
    if arguments.rows and len(arguments.stages) != 1:
        print("--rows are those of one stage: say which with --stages", file=sys.stderr)
        return 2
    model = model_directory(arguments.model)
    jobs = [
        Job(
            stage=stage,
            model=model,
            steps=arguments.steps,
            batch=arguments.problems if stage == "rlvr" else arguments.batch,
            samples=arguments.samples,
            completion=arguments.completion,
        )
        for stage in arguments.stages
    ]
    lengths = Lengths(arguments.prompt, arguments.reply)
    with tempfile.TemporaryDirectory() as temporary:
        compared, complete = compare_each(
            ((job, lengths) for job in jobs),
            arguments.folder or Path(temporary),
            rounds=arguments.rounds,
            warmup=arguments.warmup,
            sides=[side for side in SIDES if side not in arguments.without],
            limit=arguments.limit,
            rows=read_rows(arguments.rows) if arguments.rows else None,
        )
    if compared:
        print(conditions(compared, arguments.model) + "\n")
        print(training_table(compared) + "\n")
        print("\n".join(f"- {agreement(each)}" for each in compared))
    return conclude(compared, complete, arguments.json)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="builtin:tiny", help="builtin:NAME or a directory of safetensors")
    parser.add_argument("--stages", nargs="+", default=[*TRL_COMMAND], choices=[*TRL_COMMAND])
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--warmup", type=int, help="steps that are not steady yet; a quarter, at most 5, if left out")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=8, help="rows a step; pairs in dpo")
    parser.add_argument("--prompt", type=int, default=35, help="tokens of a prompt, as the template writes it")
    parser.add_argument("--reply", type=int, default=20, help="tokens of a reply")
    parser.add_argument("--problems", type=int, default=2, help="rlvr: problems a step")
    parser.add_argument("--samples", type=int, default=8, help="rlvr: completions of a problem")
    parser.add_argument("--completion", type=int, default=32, help="rlvr: most tokens of a completion")
    parser.add_argument("--rows", type=Path, help="rows of one stage, in place of the generator's")
    parser.add_argument("--without", nargs="*", default=[], choices=SIDES[1:], help="leave a side out")
    parser.add_argument("--limit", type=float, default=SECONDS_A_RUN, help="seconds after which a run is ended")
    parser.add_argument("--folder", type=Path, help="where each run's recipe, log and marks are kept")
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    if arguments.warmup is None:
        arguments.warmup = min(5, arguments.steps // 4)
    arguments.folder = arguments.folder and arguments.folder.resolve()
    return arguments


def model_directory(name: str) -> Path:
    """Return where the model lies; ends the program with 2 for one that TRL could not read from there."""
    from posttrain.errors import UserError
    from posttrain.model.resolve import resolve

    try:
        parent = resolve(name)
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    path = Path(parent.path)
    if not parent.is_plain or not path.is_dir():
        print(f"--model: {name} is no directory of safetensors, which TRL's command line needs", file=sys.stderr)
        sys.exit(2)
    return path.resolve()


if __name__ == "__main__":
    sys.exit(main())
