"""Kill runs at random moments, resume them, and compare what comes out with a run that nobody killed.

    python tests/faults/kill.py                                      # 20 kills of each stage, about 10 minutes
    python tests/faults/kill.py --forked --kills 100                 # many more, of starts without the imports
    python tests/faults/kill.py --lora --stages sft rlvr
    python tests/faults/kill.py --processes 2 --zero 2 --stages sft dpo
    python tests/faults/kill.py --processes 2 --zero 3 --stages sft --then launch.processes=1

Each stage trains the built-in model for 12 steps, saving every 2 and looking at held-out rows every 3, in float32 with
one thread: once uninterrupted, then in chains: a run directory is killed (SIGKILL) one to six times, each time in the
start after the last kill, and then let finish. The moments are drawn with `--seed` over the phases of a run
(killing/moments.py), a third of them in the middle of saving. With several processes one rank is killed, or now and
then the launcher.

Of each chain must hold: a start goes on from the newest whole checkpoint, and from nothing else; final weights,
metrics.jsonl, samples, looks.jsonl, run.json and the names of all files are those of the uninterrupted run, but for
times. With one process weights are compared byte by byte, with several within 1e-5. With several processes also: when a
rank is killed the command says so and ends with 1; a minute after a kill, no process of the run is left.

Prints a line for each kill and each chain and a summary; exits with 1 if anything differs.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

from killing.chain import Kill, run_chain, uninterrupted
from killing.job import STAGES, Job
from killing.moments import draw_moments


@dataclass
class Result:
    """All that came of a job: its kills, and what was wrong, in words that begin with the chain."""

    job: str
    seconds: float
    chains: int
    kills: list[Kill]
    wrong: list[str]


def main() -> int:
    arguments = parse()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # what is running ends with us
    results = []
    with tempfile.TemporaryDirectory() as temporary:
        for stage in arguments.stages:
            job = Job(
                stage, arguments.lora, arguments.processes, arguments.zero, tuple(arguments.set), arguments.forked
            )
            folder = (arguments.folder or Path(temporary)).resolve() / str(job).replace(" ", "-")
            results.append(kill_all(job, folder, arguments))
            print(summary(results[-1]) + "\n", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(result) for result in results], indent=2) + "\n")
    print("\n".join(summary(result) for result in results))
    return int(any(result.wrong for result in results))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stages", nargs="+", default=STAGES, choices=STAGES)
    parser.add_argument("--kills", type=int, default=20, help="of each stage")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--lora", action="store_true", help="train adapters")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--zero", type=int, default=0, choices=[0, 1, 2, 3])
    parser.add_argument(
        "--then", nargs="+", default=[], metavar="KEY=VALUE", help="change the last start of each chain"
    )
    parser.add_argument("--forked", action="store_true", help="start without the imports: five times as many kills")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="change the recipe")
    parser.add_argument("--folder", type=Path, help="where the runs and their logs are kept")
    parser.add_argument("--json", type=Path, help="write what happened here")
    arguments = parser.parse_args()
    if arguments.forked and arguments.processes > 1:
        parser.error("--forked is for one process")
    return arguments


def kill_all(job: Job, folder: Path, arguments: argparse.Namespace) -> Result:
    """Run the job uninterrupted, then in chains until all kills are done."""
    started = time.monotonic()
    whole = uninterrupted(job, folder / "whole")
    print(f"{job}: {whole.seconds:.1f} s uninterrupted: ", end="")
    print(", ".join(f"{phase} {seconds:.2f}" for phase, seconds in whole.lengths.items()), flush=True)
    draw = random.Random(f"{arguments.seed} {job}")
    moments = draw_moments(arguments.kills, draw)
    then = tuple(word for each in arguments.then for word in ("--set", each))
    result = Result(str(job), 0.0, 0, [], [])
    while moments:
        result.chains += 1
        kills, wrong = run_chain(whole, result.chains, moments, draw, print_now, then)
        result.kills += kills
        result.wrong += [f"chain {result.chains}: {each}" for each in wrong]
        print_now(f"{job} {result.chains}: {len(kills)} kills: " + ("\n    DIFFERS: ".join(["", *wrong]) or "equal"))
        if wrong and not kills:
            break  # it fails without being killed
    result.seconds = round(time.monotonic() - started, 1)
    return result


def print_now(what: object) -> None:
    print(what, flush=True)


def summary(result: Result) -> str:
    """Return what came of a job in a few lines."""
    phases = Counter(kill.moment.split()[0] for kill in result.kills)
    hit = sum(bool(kill.unfinished) for kill in result.kills)
    went_on = [kill.resumed_from for kill in result.kills if kill.resumed_from is not None]
    lines = [
        f"{result.job}: {len(result.kills)} kills in {result.chains} runs: "
        + (f"{len(result.wrong)} THINGS WRONG" if result.wrong else "equal")
        + f" ({result.seconds / 60:.1f} minutes)",
        "  moments: " + ", ".join(f"{phase} {count}" for phase, count in phases.items()),
        f"  {hit} left something unfinished; {len(went_on)} starts went on from a checkpoint",
    ]
    gone = [
        kill.gone_seconds for kill in result.kills if kill.victim != "the command" and kill.gone_seconds is not None
    ]
    if gone:
        ranks = sum(kill.victim.startswith("rank") for kill in result.kills)
        lines.append(
            f"  {ranks} times a rank, {len(gone) - ranks} times the launcher; all gone after {max(gone):.1f} s at most"
        )
    return "\n".join(lines + [f"  WRONG: {each}" for each in result.wrong])


if __name__ == "__main__":
    sys.exit(main())
