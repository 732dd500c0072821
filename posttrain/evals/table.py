"""The table that `eval` prints: a line a model, each figure with its standard error, then the differences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from posttrain.runs.listing import render_columns

_SHARES = ("pass@", "maj@", "pass^", "parts_passed")


def render(document: Mapping[str, Any]) -> str:
    """Return the document of `compare_models` as text for people."""
    rows = document["models"]
    parts = [render_columns(_table(rows)), _legend(rows)]
    if document["differences"]:
        parts += ["", render_columns(_difference_table(document["differences"])), _difference_legend(document)]
    if document["require"]:
        parts += ["", *(_bar(verdict) for verdict in document["require"])]
    return "\n".join(parts)


def _table(rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    figures = _figures(rows)
    unanswered = any(row["unanswered"] is not None for row in rows)
    heading = ["model", "problems", *figures, "tokens", "truncated", *(["unanswered"] if unanswered else []), "errors"]
    return [heading] + [
        [
            row["label"],
            str(row["problems"]),
            *(_figure(row, name) for name in figures),
            f"{row['completions/mean_length']:.0f}",
            _share(row["truncated"], row["samples"]),
            *([_share(row["unanswered"], row["samples"])] if unanswered else []),
            str(row["grader_errors"]),
        ]
        for row in rows
    ]


def _figures(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the figures to show: the reward where it says more than pass@1, the shares, the graders' own scores."""
    names = [name for name in rows[0] if f"{name}_ci95" in rows[0]]
    same = all("pass@1" in row and math.isclose(row["reward"], row["pass@1"], abs_tol=1e-9) for row in rows)
    return [name for name in names if not (name == "reward" and same)]


def _figure(row: Mapping[str, Any], name: str) -> str:
    value, error = row.get(name), row.get(f"{name}_stderr")
    if value is None:
        return "-"
    scale, digits = (100, 1) if name.startswith(_SHARES) else (1, 3)
    return f"{scale * value:.{digits}f}" + (f" ± {scale * error:.{digits}f}" if error is not None else "")


def _share(count: int, of: int) -> str:
    return f"{100 * count / of:.0f}%" if of else "-"


def _legend(rows: Sequence[Mapping[str, Any]]) -> str:
    samples = rows[0]["samples"] // max(rows[0]["problems"], 1)
    left_out = {row["left_out"] for row in rows} - {0}
    lines = [f"shares in % ± standard error over problems; {rows[0]['part']}, {samples} samples a problem"]
    if left_out:
        lines.append(f"left out for a prompt above rollout.max_prompt_tokens: up to {max(left_out)} problems")
    return "\n".join(lines)


def _difference_table(found: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    figures = [name for name in dict.fromkeys(d["figure"] for d in found) if name.startswith(_SHARES)]
    by_label: dict[str, dict[str, str]] = {}
    for difference in found:
        by_label.setdefault(difference["label"], {})[difference["figure"]] = _difference(difference)
    return [["against the baseline", *figures]] + [
        [label, *(cells.get(name, "-") for name in figures)] for label, cells in by_label.items()
    ]


def _difference(found: Mapping[str, Any]) -> str:
    points = f"{100 * found['difference']:+.1f}"
    if found["ci95"] is None:
        return points
    return f"{points} [{100 * found['ci95'][0]:+.1f}, {100 * found['ci95'][1]:+.1f}]"


def _difference_legend(document: Mapping[str, Any]) -> str:
    return f"points above {document['baseline']} on the same problems, with the 95% interval of the paired difference"


def _bar(verdict: Mapping[str, Any]) -> str:
    value = "none" if verdict["value"] is None else f"{verdict['value']:.3f}"
    kind = "low end of the gain in " if verdict["rule"] == "gain above" else ""
    says = "reached" if verdict["passed"] else "NOT reached"
    return (
        f"{says}: {verdict['label']}: {kind}{verdict['figure']} {value}, {verdict['rule']} {verdict['bar']:g} required"
    )
