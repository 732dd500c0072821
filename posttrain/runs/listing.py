"""`posttrain runs`: the runs below a directory, each with its parent and what it reached."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from posttrain.errors import UserError
from posttrain.recipe.yaml_lines import read_yaml
from posttrain.runs import directory, metrics
from posttrain.visible import on_one_line

# What a stage is judged by, best first: the first one a run has is shown.
_HEADLINES = ("pass@1", "rewards/accuracies", "reward", "loss")


class RunSummary(NamedTuple):
    """One run: `before` and `after` are the headline metric on the held-out rows at step 0 and at the end."""

    path: str
    stage: str
    parent: str
    state: str
    steps: int
    metric: str
    before: float | None
    after: float | None


def read_recipe(run: Path) -> dict[str, Any]:
    """Return the resolved recipe of a run; an empty one where it cannot be read."""
    try:
        text = (run / directory.RECIPE).read_text(encoding="utf-8")
        document = read_yaml(text, str(run / directory.RECIPE)).data
    except (OSError, ValueError, UserError):
        return {}
    return document if isinstance(document, dict) else {}


def list_runs(root: Path) -> list[RunSummary]:
    """Return every run below `root`, oldest first. Finished runs have run.json; the others say how far they are."""
    found = sorted(root.rglob(directory.INPUTS), key=lambda path: path.stat().st_mtime)
    return [_summary(path.parent) for path in found if (path.parent / directory.RECIPE).exists()]


def _summary(run: Path) -> RunSummary:
    """Return what is known of a run, whatever lies in its directory."""
    try:
        return _of_run(run)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return RunSummary(str(run), "", "", "unreadable", 0, "", None, None)


def _of_run(run: Path) -> RunSummary:
    recipe = read_recipe(run)
    rows = metrics.read_rows(run / directory.METRICS)
    finished = (run / directory.RUN).exists()
    document: dict[str, Any] = directory.read_json(run / directory.RUN) if finished else {}
    before, after = (
        document.get("metrics", {}).get("dev_before"),
        document.get("metrics", {}).get("dev_after"),
    )
    if not finished:
        looks = metrics.dev_rows(rows)
        before, after = (looks[0], looks[-1]) if looks else ({}, {})
    before, after = before or {}, after or {}
    name = next((name for name in _HEADLINES if name in after), "")
    return RunSummary(
        path=str(run),
        stage=str(recipe["stage"]),
        parent=str(document.get("parent", {}).get("name") or recipe["model"]["path"]),
        state="finished" if finished else "unfinished",
        steps=int(document.get("steps") or (rows[-1]["step"] if rows else 0)),
        metric=name,
        before=_figure(before.get(name)),
        after=_figure(after.get(name)),
    )


def _figure(value: Any) -> float | None:
    return None if value is None else float(value)


def render(runs: Sequence[RunSummary], root: Path) -> str:
    """Return the runs as a table of text."""
    if not runs:
        return f"no runs below {root}"
    rows = [("run", "stage", "parent", "steps", "dev metric", "before", "after", "state")]
    rows += [
        (
            run.path,
            run.stage,
            run.parent,
            str(run.steps),
            run.metric,
            _number(run.before),
            _number(run.after),
            run.state,
        )
        for run in runs
    ]
    return render_columns(rows)


def render_columns(rows: Sequence[Sequence[str]]) -> str:
    """Return rows of cells in columns as wide as their widest cell; the first row is the heading."""
    rows = [[on_one_line(cell) for cell in row] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
