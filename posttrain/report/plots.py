"""Each panel of a report as a PNG, drawn with matplotlib."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from posttrain.errors import UserError
from posttrain.progress import progress

_COLOURS = ("#2757c9", "#c2560c", "#1a7f5a", "#8a3ab9", "#b3264d", "#6b7280")
_SPLITS = (("train", "training"), ("dev", "held-out"))
Cells = Sequence[float | None]


def check_matplotlib() -> None:
    """Raise UserError where matplotlib is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        fix = "pip install 'posttrain[plots]'"
        raise UserError("pictures need matplotlib", where="--png", fix=fix) from error


def write_plots(document: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draw every panel of every run into `folder`, as RUN-PANEL.png; return the files."""
    import matplotlib

    matplotlib.use("Agg")
    folder.mkdir(parents=True, exist_ok=True)
    panels = [(run, panel) for run in document["runs"] for panel in run["panels"] if not panel["other"]]
    written = []
    with progress("plots", len(panels)) as advance:
        for run, panel in panels:
            path = folder / f"{_file_name(run['name'])}-{_file_name(panel['title'])}.png"
            _plot(run, panel, path)
            written.append(path)
            advance()
    return written


def _plot(run: Mapping[str, Any], panel: Mapping[str, Any], path: Path) -> None:
    from matplotlib import pyplot
    from matplotlib.ticker import PercentFormatter

    shown = [split for split, _ in _SPLITS if any(run[split]["values"].get(name) for name in panel["metrics"])]
    pair = panel["pair"] and len(shown) == 2
    style = {"axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": "#e6e9f0"}
    with pyplot.rc_context({**style, "font.size": 9, "text.parse_math": False}):
        figure, axes = pyplot.subplots(1, 2 if pair else 1, figsize=(9 if pair else 5, 3), sharey=True, squeeze=False)
        for index, (split, called) in enumerate(_SPLITS):
            place = axes[0][index if pair else 0]
            if pair:
                place.set_title(called, loc="left", fontsize=9, color="#667085")
            for position, name in enumerate(panel["metrics"]):
                label = name if pair or len(shown) < 2 else f"{name}, {called}"
                _curve(place, run[split], name, split, label, _COLOURS[position % len(_COLOURS)])
        for place in axes[0][: 2 if pair else 1]:
            place.set_xlabel("step")
            if place.get_legend_handles_labels()[0]:
                place.legend(frameon=False, fontsize=8)
            if panel["share"]:
                place.yaxis.set_major_formatter(PercentFormatter(1.0))
        figure.suptitle(f"{panel['title']}: {run['name']}", x=0.01, ha="left", fontsize=11)
        figure.tight_layout()
        figure.savefig(path, dpi=150)
        pyplot.close(figure)


def _curve(place: Any, part: Mapping[str, Any], name: str, split: str, label: str, colour: str) -> None:
    values = part["values"].get(name)
    if not values or all(value is None for value in values):
        return
    steps, numbers = zip(*((s, v) for s, v in zip(part["steps"], values, strict=True) if v is not None), strict=True)
    low, high = part["low"].get(name), part["high"].get(name)
    if low and high:
        bounds = [b for b in zip(part["steps"], low, high, strict=True) if b[1] is not None and b[2] is not None]
        if bounds:
            place.fill_between(*zip(*bounds, strict=True), color=colour, alpha=0.15, linewidth=0)
    if split == "dev":
        place.plot(steps, numbers, marker="o", markersize=3.5, color=colour, label=label)
        if steps[0] == 0:
            place.axhline(numbers[0], color=colour, linestyle="--", linewidth=0.9, alpha=0.7)
        return
    place.plot(steps, numbers, color=colour, alpha=0.3, linewidth=0.8)
    place.plot(steps, smoothed(numbers, 1 - 1 / max(1.0, 0.09 * len(numbers))), color=colour, label=label)


def smoothed(values: Sequence[float], weight: float) -> list[float]:
    """Return the exponential mean up to each value, without the pull of the first one: sum of w^i x / sum of w^i."""
    total, scale, found = 0.0, 1.0, []
    for value in values:
        total = weight * total + (1 - weight) * value
        scale *= weight
        found.append(total / (1 - scale))
    return found


def _file_name(text: str) -> str:
    return re.sub(r"[^\w.-]+", "-", text).strip("-.").lower()
