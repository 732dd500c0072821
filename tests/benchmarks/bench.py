"""All benchmarks that need no outside data, one after the other, and one Markdown summary: what `make bench` runs.

    make bench                                                     # builtin:tiny, one round
    make bench BENCH="--model DIR --steps 100 --rounds 3 --budget 240 --out runs/bench-smollm2"

Training against TRL's command line, how cost grows, getting rows ready, padding, and the GPU's set: on a GPU where
there is one, else only tried in small. Each writes what it printed into `--out` as it ends, and the summary holds
them all. A benchmark that fails is named there with the end of its output; the rest runs nevertheless, and the exit
code is 1.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from measure.processes import RunFailed, run
from measure.sides import BENCHMARKS, REPOSITORY

HOURS = 12


@dataclass(frozen=True)
class Part:
    """A script with its options; `markdown` is whether what it prints is that already."""

    title: str
    script: str
    options: tuple[str, ...]
    markdown: bool = True

    @property
    def command(self) -> str:
        return " ".join(["python", f"tests/benchmarks/{self.script}", *self.options])


def main() -> int:
    arguments = parse()
    out = arguments.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    written, failed = [f"# Benchmarks, {time.strftime('%Y-%m-%d')}\n"], False
    for part in chosen(parts(arguments, out), arguments.only):
        print(f"== {part.command}", file=sys.stderr, flush=True)
        folder = out / part.script.removesuffix(".py")
        folder.mkdir(exist_ok=True)
        try:
            script = [sys.executable, str(BENCHMARKS / part.script), *part.options]
            with_output = ["sh", "-c", 'out=$1; shift; exec "$@" >"$out"', "sh", "out.md", *script]
            took = run(with_output, folder=folder, environ=environment(), limit=3600 * HOURS).seconds
            printed = (folder / "out.md").read_text(encoding="utf-8").strip()
            body = f"{printed if part.markdown else fenced(printed)}\n\nIt took {took / 60:.1f} minutes."
        except RunFailed as error:
            failed = True
            body = f"{printed_so_far(folder)}**It failed:**\n\n{fenced(str(error))}"
        written.append(f"## {part.title}\n\n```console\n$ {part.command}\n```\n\n{body}\n")
        (out / "summary.md").write_text("\n".join(written), encoding="utf-8")
    print(out / "summary.md")
    return int(failed)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="builtin:tiny", help="of training and growth: builtin:NAME or a directory")
    parser.add_argument("--steps", type=int, default=8, help="of training")
    parser.add_argument("--rounds", type=int, default=1, help="of training and growth")
    parser.add_argument("--budget", type=float, default=10.0, help="minutes for how cost grows")
    parser.add_argument("--rows", type=int, default=5000, help="of getting rows ready")
    parser.add_argument("--problems", help="GSM8K's rows, for evaluation: see eval_throughput.py")
    parser.add_argument("--lm-eval", help="the python of an environment with lm-evaluation-harness, for evaluation")
    parser.add_argument("--only", nargs="+", metavar="SCRIPT", help="these scripts alone, as training or growth")
    parser.add_argument("--out", type=Path, default=Path("runs/bench"), help="folder for the summary and the figures")
    arguments = parser.parse_args()
    if bool(arguments.problems) != bool(arguments.lm_eval):
        parser.error("evaluation needs both --problems and --lm-eval")
    if arguments.lm_eval and not Path(arguments.model).is_dir():
        parser.error("evaluation needs a --model that is a directory")
    return arguments


def parts(arguments: argparse.Namespace, out: Path) -> list[Part]:
    """Return what is run, in order."""
    model, rounds = arguments.model, str(arguments.rounds)
    training = ("--model", model, "--steps", str(arguments.steps), "--rounds", rounds)
    growth = ("--model", model, "--rounds", rounds, "--budget", str(arguments.budget))
    quickstart = str(REPOSITORY / "recipes" / "quickstart" / "data" / "sft.jsonl")
    padding = ("--rows", quickstart, "--limit", "400", "--length", "256", "--batch", "16", "--rounds", rounds)
    files = {name: str(out / name) for name in ("training.json", "growth.json", "growth.png", "gpu.json")}
    gpu = ("--rounds", rounds, "--json", files["gpu.json"], *(() if has_gpu() else ("--tiny",)))
    evaluation = (
        "--model",
        model,
        "--problems",
        arguments.problems,
        "--lm-eval",
        arguments.lm_eval,
        "--rounds",
        rounds,
    )
    return [
        Part("Training against TRL's command line", "training.py", (*training, "--json", files["training.json"])),
        Part("How cost grows", "growth.py", (*growth, "--json", files["growth.json"], "--plot", files["growth.png"])),
        Part("Getting rows ready", "prepare_rows.py", ("--rows", str(arguments.rows)), markdown=False),
        Part("Padding", "sft_padding.py", padding, markdown=False),
        *([Part("Evaluation", "eval_throughput.py", evaluation, markdown=False)] if arguments.lm_eval else []),
        Part("One GPU" if has_gpu() else "The GPU's set, in small on the CPU", "gpu.py", gpu),
    ]


def chosen(every: list[Part], names: list[str] | None) -> list[Part]:
    """Return the parts whose scripts are named, all if none is; end the program with 2 for a name there is not."""
    known = [part.script.removesuffix(".py") for part in every]
    if unknown := sorted({*(names or [])} - {*known}):
        print(f"--only: no {', '.join(unknown)} here, but {', '.join(known)}", file=sys.stderr)
        sys.exit(2)
    return [part for part, name in zip(every, known, strict=True) if names is None or name in names]


def has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def environment() -> dict[str, str]:
    """Return our own, with this repository's posttrain first."""
    paths = [str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def printed_so_far(folder: Path) -> str:
    printed = (folder / "out.md").read_text(encoding="utf-8").strip() if (folder / "out.md").exists() else ""
    return f"{fenced(printed)}\n\n" if printed else ""


def fenced(text: str) -> str:
    return f"```text\n{text}\n```"


if __name__ == "__main__":
    sys.exit(main())
