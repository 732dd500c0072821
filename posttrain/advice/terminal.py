"""The advice in a terminal: what the rows are, each method with its facts, what it costs, what to type. One screen."""

from __future__ import annotations

import math
from textwrap import wrap

from rich.console import Console
from rich.table import Table
from rich.text import Text

from posttrain.advice.advise import Advised
from posttrain.advice.cost import LORA_RANK, Range
from posttrain.advice.facts import Facts
from posttrain.advice.methods import Advice, Situation
from posttrain.advice.tokens import CHARACTERS_A_TOKEN

_SAID = {"first": "first", "fits": "fits", "once": "fits once", "no": "does not fit"}
_STYLES = {"first": "bold cyan", "fits": "bold green", "once": "bold yellow", "no": "bright_black"}
_INDENT = 8


def print_advice(console: Console, advised: Advised) -> None:
    """Print it all on the console."""
    for facts in advised.here.sources:
        console.print(_source_line(facts, advised.here), highlight=False)
    for number, advice in enumerate(advised.methods, 1):
        _print_method(console, number, advice)
    _print_cost(console, advised)
    if not advised.starter:
        if advised.tokens or advised.methods[0].startable:
            console.print("--to DIR writes recipes for what fits, and the order of commands", highlight=False)
    else:
        console.print()
        for path in advised.starter.files:
            console.print(f"wrote {path}", highlight=False, soft_wrap=True)
        for typed, purpose in advised.starter.commands:
            console.print(Text(typed, style="bold") + Text(f"  # {purpose}", style="bright_black"), soft_wrap=True)


def _source_line(facts: Facts, here: Situation) -> Text:
    line = Text(facts.name, style="bold")
    if facts.trouble:
        return line.append(f": cannot be read: {facts.trouble}", style="not bold red")
    said = f": {facts.rows:,} rows" + (", held out" if facts.held_out else "")
    reads = [f"{stage} ({fit.format}{_columns(fit.columns)})" for stage, fit in facts.fits.items()]
    said += f"; read by {', '.join(reads)}" if reads else "; no stage reads their columns: see posttrain data formats"
    trial = here.trials.get(id(facts))
    if trial:
        said += f"; grader {trial.options['type']} passes {trial.share:.0%} of the answers"
    if facts.bad:
        said += f"; {facts.bad:,} rows cannot be read, the first: {facts.first_bad}"
    return line.append(said, style="not bold")


def _columns(columns: dict[str, str]) -> str:
    return "".join(f", {ours}={theirs}" for ours, theirs in columns.items())


def _print_method(console: Console, number: int, advice: Advice) -> None:
    head = Text(f"{number} {advice.method:{_INDENT - 3}} ")
    said = _SAID[advice.verdict] + (f" {advice.condition}" if advice.condition else "")
    console.print(head.append(said, style=_STYLES[advice.verdict]), highlight=False)
    facts = "; ".join(advice.why)
    for said in [facts, *(f"→ {task}" for task in advice.todo)]:
        for line in wrap(said, max(20, console.width - _INDENT)):
            console.print(Text(" " * _INDENT + line), soft_wrap=True)


def _print_cost(console: Console, advised: Advised) -> None:
    if not advised.tokens:
        return
    counted = (
        f"counted with the tokenizer of {advised.model}" if advised.model else f"{CHARACTERS_A_TOKEN} characters each"
    )
    if not advised.costs:
        each = ", ".join(f"{stage} {_count(tokens)}" for stage, tokens in advised.tokens.items())
        console.print(f"tokens ({counted}): {each}", highlight=False)
        if not advised.model:
            console.print("--model NAME says how much memory and how many hours that takes here", highlight=False)
        return
    assert advised.size is not None and advised.machine is not None
    machine = advised.machine
    console.print(
        f"rough cost of {advised.model}, {_count(advised.size.parameters)} parameters, on {machine.name} "
        f"({machine.rate / 1e9:,.0f} GFLOP/s measured, {machine.dtype}, {_gigabytes((machine.memory,) * 2)}):",
        highlight=False,
    )
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for title in ("", "tokens", "full", "time", f"LoRA r={LORA_RANK}", "time"):
        table.add_column(title, no_wrap=True)
    for stage, cost in advised.costs.items():
        table.add_row(
            stage,
            _range(*map(_count, cost.tokens)),
            _gigabytes(cost.memory_full),
            _time(cost.hours_full),
            _gigabytes(cost.memory_lora),
            _time(cost.hours_lora),
        )
    console.print(table)


def _range(low: str, high: str) -> str:
    return low if low == high else f"{low}-{high}"


def _count(number: float) -> str:
    """``1.2M``: two figures, since no more are known."""
    for unit, name in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= unit:
            return f"{number / unit:.2g}{name}" if number < 100 * unit else f"{number / unit:,.0f}{name}"
    return f"{number:.0f}"


def _gigabytes(size: Range) -> str:
    if size[1] < 1e9:
        return "under 1 GB"
    low, high = (f"{each / 1e9:,.0f}" if each >= 10e9 else f"{each / 1e9:.1f}" for each in size)
    return f"{_range(low, high)} GB"


def _time(hours: Range) -> str:
    units = (("days", 24.0), ("h", 1.0), ("min", 1 / 60), ("s", 1 / 3600))
    name, unit = next((each for each in units if math.sqrt(hours[0] * hours[1]) >= each[1]), units[-1])
    low, high = (f"{each / unit:.2g}" if each / unit < 100 else f"{each / unit:,.0f}" for each in hours)
    return f"{_range(low, high)} {name}"
