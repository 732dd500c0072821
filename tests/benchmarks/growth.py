"""How cost grows: with the length of rows, the size of RLVR's groups, the prompt's part of a pair, and processes.

    python tests/benchmarks/growth.py --budget 30 --plot docs/images/growth.png
    python tests/benchmarks/growth.py --model DIR --steps 6 --rounds 3 --budget 240 --json growth.json --plot growth.png

Each point is a short training by `posttrain` and by TRL's command line with its threads set to the cores, in turns,
as training.py runs them; points with two processes are posttrain's alone. Points that the model's context is too
short for, or for which `--budget` minutes do not last, are left out, and named. Points go by turns from the four
families, the small ones first.

- rows: SFT of about 2,048 tokens a step, in rows of 64 to 2,048
- groups: RLVR of 2 problems, 4 to 32 completions each
- prompt: DPO of 4 pairs whose rows have 256 tokens, an eighth to seven eighths of them prompt
- processes: SFT of 8 rows of 256 tokens by 1 and by 2 processes
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from measure.compare import compare
from measure.processes import RunFailed
from measure.report import markdown_table
from measure.rows import Lengths
from measure.sides import Job, Side
from training import model_directory

TOKENS_A_STEP = 2048
ROW = 256
PAIRS = 4
UNIT = {"rows": "1,000 tokens", "groups": "completion", "prompt": "pair", "processes": "row"}
AXIS = {"rows": "tokens of a row", "groups": "completions of a problem", "prompt": "prompt's share of a row, %"}


@dataclass(frozen=True)
class Point:
    """One training to time. `size` is what its family varies, `units` how many of UNIT a step does."""

    family: str
    size: int
    job: Job
    lengths: Lengths
    units: float
    sides: tuple[Side, ...] = ("posttrain", "trl, threads")


@dataclass(frozen=True)
class Cost:
    """Seconds by the clock for each unit, and memory in MB, by side."""

    family: str
    size: int
    seconds: dict[str, float]
    memory: dict[str, float]


def main() -> int:
    arguments = parse()
    model = model_directory(arguments.model)
    points, left_out = fitting(all_points(model, arguments.steps), context_of(model))
    until = time.monotonic() + 60 * arguments.budget
    costs: list[Cost] = []
    with tempfile.TemporaryDirectory() as temporary:
        for point in points:
            name = f"{point.family} {point.size}"
            if time.monotonic() > until:
                left_out.append(f"{name}: the budget is spent")
                continue
            try:
                costs.append(cost_of(point, Path(temporary) / name.replace(" ", "-"), arguments, until))
            except RunFailed as error:
                left_out.append(f"{name}: {str(error).splitlines()[0]}")
                print(error, file=sys.stderr)
    print(f"{Path(arguments.model).name}, {arguments.steps} steps a point, median of {arguments.rounds} rounds.\n")
    print(growth_table(costs))
    if left_out:
        print("\nLeft out:\n" + "\n".join(f"- {each}" for each in left_out))
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(each) for each in costs], indent=1), encoding="utf-8")
    if arguments.plot and costs:
        plot(costs, arguments.plot, Path(arguments.model).name)
    return 0 if costs else 1


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="builtin:tiny", help="builtin:NAME or a directory of safetensors")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--warmup", type=int, default=1, help="steps that are not steady yet")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--budget", type=float, default=30.0, help="minutes in all")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--plot", type=Path, help="draw them here, as PNG")
    return parser.parse_args()


def all_points(model: Path, steps: int) -> list[Point]:
    """Return the points, by turns from each family."""

    def job(stage: str, batch: int, **more: Any) -> Job:
        return Job(stage=stage, model=model, steps=steps, batch=batch, **more)

    def rows_of(size: int, prompt_share: float = 0.5) -> Lengths:
        return Lengths(round(size * prompt_share), round(size * (1 - prompt_share)), spread=0.0)

    def rows(size: int) -> Point:
        return Point("rows", size, job("sft", TOKENS_A_STEP // size), rows_of(size), TOKENS_A_STEP / 1e3)

    def groups(size: int) -> Point:
        return Point("groups", size, job("rlvr", 2, samples=size), Lengths(35, 20), 2 * size)

    def prompt(share: float) -> Point:
        return Point("prompt", round(100 * share), job("dpo", PAIRS), rows_of(ROW, share), PAIRS)

    def processes(size: int) -> Point:
        return Point("processes", size, job("sft", 8, processes=size), rows_of(ROW), 8, ("posttrain",))

    families = [
        [rows(size) for size in (64, 256, 1024, 2048)],
        [groups(size) for size in (4, 8, 16, 32)],
        [prompt(share) for share in (1 / 8, 1 / 2, 3 / 4, 7 / 8)],
        [processes(size) for size in (1, 2)],
    ]
    longest = max(map(len, families))
    return [family[turn] for turn in range(longest) for family in families if turn < len(family)]


def fitting(points: list[Point], context: int) -> tuple[list[Point], list[str]]:
    """Return the points whose rows the model's context holds, and a line for each of the others."""
    fit = [point for point in points if point.family != "rows" or point.size <= context]
    others = [point for point in points if point not in fit]
    return fit, [f"{point.family} {point.size}: the model's context is {context}" for point in others]


def context_of(model: Path) -> int:
    return json.loads((model / "config.json").read_text(encoding="utf-8"))["max_position_embeddings"]


def cost_of(point: Point, folder: Path, arguments: argparse.Namespace, until: float) -> Cost:
    compared = compare(
        point.job,
        folder,
        lengths=point.lengths,
        rounds=arguments.rounds,
        warmup=arguments.warmup,
        sides=point.sides,
        until=until,
        say=lambda line: print(f"{point.family} {point.size}: {line}", file=sys.stderr, flush=True),
    )
    return Cost(
        point.family,
        point.size,
        {each.side: each.step_seconds / point.units for each in compared.figures},
        {each.side: each.memory_mb for each in compared.figures},
    )


def growth_table(costs: list[Cost]) -> str:
    """Return a line a point: what a unit takes each side, and the ratio."""
    head = ["", "size", "s, by posttrain", "s, by TRL", "for each", "times as fast", "memory, MB: posttrain", "TRL"]
    ordered = [cost for family in UNIT for cost in costs if cost.family == family]
    return markdown_table(head, [_line(cost) for cost in ordered])


def _line(cost: Cost) -> list[str]:
    ours, theirs = cost.seconds["posttrain"], cost.seconds.get("trl, threads")
    memory = cost.memory.get("trl, threads")
    return [
        cost.family,
        f"{cost.size:,}",
        f"{ours:.4f}",
        f"{theirs:.4f}" if theirs else "",
        UNIT[cost.family],
        f"{theirs / ours:.2f}" if theirs else "",
        f"{cost.memory['posttrain']:,.0f}",
        f"{memory:,.0f}" if memory else "",
    ]


def plot(costs: list[Cost], path: Path, model: str) -> None:
    """Draw seconds for each unit over the size, a panel a family."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    families = [family for family in AXIS if any(cost.family == family for cost in costs)]
    figure, panels = pyplot.subplots(1, len(families), figsize=(4 * len(families), 3.4), squeeze=False)
    for panel, family in zip(panels[0], families, strict=True):
        points = sorted((cost for cost in costs if cost.family == family), key=lambda cost: cost.size)
        sizes = [point.size for point in points]
        for side, name in (("posttrain", "posttrain"), ("trl, threads", "TRL's command line")):
            panel.plot(sizes, [point.seconds[side] for point in points], marker="o", label=name)
        if family != "prompt":
            panel.set_xscale("log", base=2)
        panel.set_xticks(sizes, [f"{size:,}" for size in sizes])
        panel.minorticks_off()
        panel.set_ylim(0, 1.1 * max(max(point.seconds.values()) for point in points))
        panel.set_xlabel(AXIS[family])
        panel.set_ylabel(f"seconds a {UNIT[family]}".replace("a 1,000", "for 1,000"))
    panels[0][0].legend(frameon=False)
    figure.suptitle(f"{model}: what a step costs", fontsize=10)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    sys.exit(main())
