"""Lines of a table held against a baseline on the same problems, and against what the recipe requires."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from posttrain.errors import UserError
from posttrain.evals.statistics import paired, paired_interval
from posttrain.recipe.schema import Bar

if TYPE_CHECKING:
    from posttrain.evals.compare import Line


def differences(lines: Sequence[Line], baseline: Line) -> list[dict[str, Any]]:
    """Return, for every other line and each figure that both have, the mean paired difference to the baseline with
    its standard error and 95% interval, over the problems that have the figure in both."""
    found = []
    for line in lines:
        if line is baseline:
            continue
        for figure, ours in line.values.items():
            theirs = baseline.values.get(figure, {})
            both = [key for key in ours if key in theirs]
            if not both:
                continue
            groups = [line.groups[key] for key in both] if line.groups else None
            pairs = [ours[key] for key in both], [theirs[key] for key in both]
            difference, bounds = paired(*pairs, groups), paired_interval(*pairs, groups)
            found.append(
                {
                    "label": line.row["label"],
                    "figure": figure,
                    "difference": difference.mean,
                    "stderr": difference.stderr,
                    "ci95": list(bounds) if bounds else None,
                    "problems": difference.n,
                }
            )
    return found


def check_bars(
    bars: Mapping[str, Bar], lines: Sequence[Line], baseline: Line, found: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return a verdict for every bar and every line it holds for: all but the baseline, or the only one. A figure that
    a line has not got, for want of verdicts, does not reach its bar."""
    held = [line for line in lines if line is not baseline] or [baseline]
    verdicts: list[dict[str, Any]] = []
    for figure, bar in bars.items():
        for line in held:
            value = line.row[figure] if figure in line.values else None
            if bar.at_least is not None:
                passed = value is not None and value >= bar.at_least
                verdicts.append(_verdict(line, figure, "at least", bar.at_least, value, passed))
            if bar.gain_above is not None:
                ours = (d for d in found if d["label"] == line.row["label"] and d["figure"] == figure)
                bounds = next((difference["ci95"] for difference in ours), None)
                low = bounds[0] if bounds else None
                passed = low is not None and low > bar.gain_above
                verdicts.append(_verdict(line, figure, "gain above", bar.gain_above, low, passed))
    return verdicts


def check_comparable(bars: Mapping[str, Bar], labels: Sequence[str], place: Callable[[str], str]) -> None:
    """Raise UserError when a gain is asked for and there is one line only, which has nothing to compare with."""
    for figure, bar in bars.items():
        if bar.gain_above is not None and len(labels) == 1:
            raise UserError(
                "gain_above compares with a baseline, and there is one line only",
                where=place(f"eval.require.{figure}"),
                fix="name two models: --model base --model runs/sft",
            )


def _verdict(line: Line, figure: str, rule: str, bar: float, value: float | None, passed: bool) -> dict[str, Any]:
    return {
        "label": line.row["label"],
        "figure": figure,
        "rule": rule,
        "bar": bar,
        "value": value,
        "passed": passed,
    }
