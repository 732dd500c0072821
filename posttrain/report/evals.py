"""What `posttrain eval` left in a directory: its lines, and the paired differences between each two of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posttrain.data.records import Problem
from posttrain.evals.kept import as_graded, read_back
from posttrain.evals.statistics import paired, paired_interval
from posttrain.evals.summary import Look, summarize
from posttrain.report.samples import Source
from posttrain.runs import directory


@dataclass(frozen=True)
class Line:
    """One line of an eval's table, with the file of its completions; None where that is gone."""

    row: dict[str, Any]
    samples: Path | None


@dataclass(frozen=True)
class Eval:
    """The lines of one directory that were scored on the same part of the problems."""

    path: Path
    part: str
    lines: list[Line]

    @property
    def name(self) -> str:
        return f"{self.path} · {self.part}"


def read_evals(path: Path) -> list[Eval]:
    """Return the evals kept in a directory, by part. Lines come oldest first, `base` first."""
    lines: dict[str, list[Line]] = {}
    for file in sorted(path.glob("*.json"), key=lambda file: (file.stat().st_mtime, file.name)):
        row = _document(file)
        if not {"label", "part", "digest", "problems"} <= row.keys():
            continue
        samples = path / directory.SAMPLES / Path(str(row.get("samples_file", ""))).name
        lines.setdefault(row["part"], []).append(Line(row, samples if samples.is_file() else None))
    for each in lines.values():
        each.sort(key=lambda line: line.row["label"].split(" · ")[0] != "base")
    return [Eval(path, part, each) for part, each in lines.items()]


def scored(found: Eval, runs: Iterable[Path]) -> bool:
    """Return whether an eval scored one of these runs."""
    places = {run.resolve() for run in runs}
    return any(places & {Path(str(line.row.get("path", ""))).resolve().parent} for line in found.lines)


def figures_of(row: Mapping[str, Any]) -> list[str]:
    """Return the names of the figures of a line that have an interval."""
    return [name for name in row if f"{name}_ci95" in row]


def tables(found: Eval) -> dict[str, Any]:
    """Return ``{"name", "part", "figures", "lines", "differences"}``; a difference is one figure of one line less that
    of another, on the problems that both have."""
    looks = {line.row["label"]: _looked_at(line) for line in found.lines}
    names = list(dict.fromkeys(name for line in found.lines for name in figures_of(line.row)))
    return {
        "name": found.name,
        "part": found.part,
        "figures": names,
        "lines": [line.row for line in found.lines],
        "differences": [
            difference
            for line in found.lines
            for other in found.lines
            if line is not other
            for difference in _differences(line, other, looks, names)
        ],
    }


def sources_of_eval(found: Eval) -> list[Source]:
    """Return a source of completions for each line."""
    return [
        Source(f"{found.name} · {line.row['label']}", "eval", position, found.name, [line.samples])
        for position, line in enumerate(found.lines)
        if line.samples
    ]


Looked = tuple[dict[str, str], Look] | None


def _differences(
    line: Line, other: Line, looks: Mapping[str, Looked], names: Sequence[str]
) -> Iterable[dict[str, Any]]:
    ours, theirs = looks[line.row["label"]], looks[other.row["label"]]
    if ours is None or theirs is None:
        return
    for name in names:
        if name not in ours[1].values or name not in theirs[1].values:
            continue
        mine, yours = _by_problem(ours, theirs, name)
        both = [key for key in mine if key in yours]
        if not both:
            continue
        pairs = [mine[key] for key in both], [yours[key] for key in both]
        clustered = _clustered(line, ours[1], name) or _clustered(other, theirs[1], name)
        bounds = None if clustered else paired_interval(*pairs)
        yield {
            "label": line.row["label"],
            "baseline": other.row["label"],
            "figure": name,
            "difference": paired(*pairs).mean,
            "ci95": list(bounds) if bounds else None,
            "problems": len(both),
            "clustered": clustered,
        }


def _by_problem(
    ours: tuple[dict[str, str], Look], theirs: tuple[dict[str, str], Look], name: str
) -> tuple[dict[str, float], dict[str, float]]:
    """Return a figure's values by problem, of both: by the problem's content, or by its place where it was asked in
    another way."""
    same = ours[0].keys() & theirs[0].keys()
    found = []
    for keys, look in (ours, theirs):
        values = zip(keys if same else keys.values(), look.values[name], strict=True)
        found.append({key: value for key, value in values if value is not None})
    return found[0], found[1]


def _clustered(line: Line, look: Look, name: str) -> bool:
    """Return whether the eval's standard error was over groups of problems, which completions do not tell of."""
    said, here = line.row.get(f"{name}_stderr"), look.figures[name].stderr if name in look.figures else None
    return said is not None and here is not None and not math.isclose(said, here, rel_tol=1e-6, abs_tol=1e-9)


def _looked_at(line: Line) -> Looked:
    """Return the problems' (key -> place) and the look at them, from the completions; None where they are gone."""
    if line.samples is None:
        return None
    kept = read_back(line.samples)
    graded, keys = [], {}
    for key, rows in kept.items():
        drawn = [rows[number] for number in sorted(rows)]
        keys[key] = str(drawn[0].get("place") or key)
        graded.append(as_graded(Problem(drawn[0]["prompt"]), drawn))
    if not any(not grade.error for row in graded for grade in row.grades):
        return None
    sizes = sorted(int(name.split("@")[1]) for name in figures_of(line.row) if name.startswith("pass@"))
    parts = [name.removeprefix("score/") for name in figures_of(line.row) if name.startswith("score/")]
    return keys, summarize(graded, sizes, parts=parts)


def _document(path: Path) -> dict[str, Any]:
    try:
        row = directory.read_json(path)
    except (OSError, ValueError):
        return {}
    return row if isinstance(row, dict) else {}
