"""Lines of a table held against a baseline on the same problems, and against what the recipe requires."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from posttrain.errors import UserError, did_you_mean
from posttrain.evals.statistics import interval, paired
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
            difference = paired([ours[key] for key in both], [theirs[key] for key in both], groups)
            bounds = interval(difference)
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
    """Return a verdict for every bar and every line it holds for: all but the baseline, or the only one.

    Raises UserError for a figure that the table has not got, and for a gain without anything to compare with.
    """
    held = [line for line in lines if line is not baseline] or [baseline]
    verdicts: list[dict[str, Any]] = []
    for figure, bar in bars.items():
        for line in held:
            if figure not in line.row:
                known = list(line.values)
                fix = f"figures: {', '.join(known)}"
                hint = did_you_mean(figure, known)
                raise UserError(f"there is no figure {figure!r}.{hint}", where="eval.require", fix=fix)
            if bar.at_least is not None:
                value = line.row[figure]
                verdicts.append(_verdict(line, figure, "at least", bar.at_least, value, value >= bar.at_least))
            if bar.gain_above is not None:
                if line is baseline:
                    raise UserError(
                        "gain_above compares with a baseline, and there is one line only",
                        where=f"eval.require.{figure}",
                        fix="name two models: --model base --model runs/sft",
                    )
                ours = (d for d in found if d["label"] == line.row["label"] and d["figure"] == figure)
                bounds = next((difference["ci95"] for difference in ours), None)
                low = bounds[0] if bounds else None
                passed = low is not None and low > bar.gain_above
                verdicts.append(_verdict(line, figure, "gain above", bar.gain_above, low, passed))
    return verdicts


def _verdict(line: Line, figure: str, rule: str, bar: float, value: float | None, passed: bool) -> dict[str, Any]:
    return {
        "label": line.row["label"],
        "figure": figure,
        "rule": rule,
        "bar": bar,
        "value": value,
        "passed": passed,
    }
