"""Comparisons as Markdown."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path

from measure.compare import Comparison, Figures
from measure.sides import Side, cores

NAMES: dict[Side, str] = {
    "posttrain": "posttrain",
    "trl": "TRL as it launches itself",
    "trl, threads": "TRL with its threads set",
}


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def training_table(compared: Sequence[Comparison]) -> str:
    """Return one table: a line a side and stage, and how many times as fast posttrain is."""
    head = ["stage", "", "threads", "s a step", "of processor", "rows/s", "tokens/s", "share of the rate"]
    head += ["whole run, s", "to the first step, s", "memory, MB", "**times as fast**", "whole run"]
    rows = [_line(each, figures) for each in compared for figures in each.figures]
    return markdown_table(head, rows)


def _line(compared: Comparison, figures: Figures) -> list[str]:
    ours = figures.side == "posttrain"
    return [
        compared.stage.upper() if ours else "",
        NAMES[figures.side],
        str(figures.threads),
        f"{figures.step_seconds:.3f}",
        f"{figures.step_processor:.3f}",
        f"{figures.rows_a_second:,.1f}",
        f"{figures.tokens_a_second:,.0f}",
        f"{figures.share:.0%}",
        f"{figures.whole_seconds:.1f}",
        f"{figures.first_step_after:.1f}",
        f"{figures.memory_mb:,.0f}",
        "1" if ours else f"**{figures.ratio:.2f}** ({figures.processor_ratio:.2f} by processor)",
        "1" if ours else f"{figures.whole_ratio:.2f}",
    ]


def agreement(compared: Comparison) -> str:
    """Return a sentence on whether the sides learned the same."""
    said = "; ".join(
        f"{NAMES[side]}: " + ", ".join(f"{name} {value:.1e}" for name, value in found.items())  # type: ignore[index]  # a side is its own name
        for side, found in compared.apart.items()
    )
    what = (
        "mean length (as a share) and mean reward"
        if compared.stage == "rlvr"
        else "any step's loss and gradient norm (as a share)"
    )
    verdict = "agree" if compared.agree else "DO NOT AGREE"
    cut = f"; cut short in {compared.failure.splitlines()[0]}" if compared.failure else ""
    return f"{compared.stage}: the sides {verdict}; largest difference of {what}: {said}{cut}"


def conditions(compared: Sequence[Comparison], model: str) -> str:
    """Return what a reader must know to place the figures."""
    first = compared[0]
    above = any(figures.share > 1 for each in compared for figures in each.figures)
    busy = (
        " Shares above 100%: the machine was busier when its rate was measured than when it trained." if above else ""
    )
    rates = ", ".join(f"{each.stage} {each.rate / 1e9:,.0f}" for each in compared)
    fewest = min(each.rounds for each in compared)
    rounds = "one round" if fewest == 1 else f"median of {fewest} rounds"
    return (
        f"{model}, {first.steps} steps, {rounds}; {cores()} cores, {processor()}; "
        f"matrix products of these shapes, GFLOP/s: {rates}.{busy}"
    )


def processor() -> str:
    """Return the processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
