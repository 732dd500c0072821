"""A run's directory as data, finished or not, and the runs that it comes from."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from posttrain.errors import UserError
from posttrain.runs import directory
from posttrain.runs.metrics import read_rows

ALARMS = "alarms.jsonl"


@dataclass(frozen=True)
class Run:
    """What a run's directory says. `document` is run.json, empty while the run is unfinished."""

    path: Path
    name: str
    recipe: dict[str, Any]
    recipe_text: str
    inputs: dict[str, Any]
    document: dict[str, Any]
    rows: list[dict[str, Any]]
    alarms: list[dict[str, Any]]

    @property
    def stage(self) -> str:
        return self.recipe["stage"]

    @property
    def finished(self) -> bool:
        return bool(self.document)

    @property
    def train(self) -> list[dict[str, Any]]:
        return [row for row in self.rows if row["split"] == "train"]

    @property
    def dev(self) -> list[dict[str, Any]]:
        return [row for row in self.rows if row["split"] == "dev"]

    @property
    def before(self) -> dict[str, Any]:
        """The look at the model that the run began with."""
        return next((row for row in self.dev if row["step"] == 0), {})

    @property
    def after(self) -> dict[str, Any]:
        """The look at the model that final/ holds; of an unfinished run, the last."""
        looks = self.dev
        return (self.document.get("metrics") or {}).get("dev_after") or (looks[-1] if looks else {})

    @property
    def steps(self) -> int:
        return self.document.get("steps") or (self.rows[-1]["step"] if self.rows else 0)

    @property
    def seconds(self) -> float:
        return self.document.get("seconds") or max((row.get("seconds") or 0.0 for row in self.rows), default=0.0)

    @property
    def tokens(self) -> int:
        return self.document.get("tokens") or int(max((row.get("num_tokens") or 0 for row in self.rows), default=0))

    @property
    def problems(self) -> int:
        """Held-out problems of each look, 0 where that is not known."""
        return (self.document.get("rows") or {}).get("problems") or len(_first_look(self.path))


def is_run(path: Path) -> bool:
    """Return whether a directory is a training run's, finished or not."""
    return (path / directory.RECIPE).is_file() and (path / directory.INPUTS).is_file()


def read_run(path: Path) -> Run:
    """Read a run's directory. Raises UserError when it is none, or a file of it cannot be read."""
    if (path / directory.LINEAGE).is_file() and is_run(path.parent):
        path = path.parent  # RUN/final, as a stage prints it
    if not is_run(path):
        raise UserError(f"{path} is no run", where="RUN", fix="`posttrain runs` lists those below runs/")
    try:
        text = (path / directory.RECIPE).read_text(encoding="utf-8")
        recipe = yaml.safe_load(text)
        document = directory.read_json(path / directory.RUN) if (path / directory.RUN).is_file() else {}
        return Run(
            path=path,
            name=os.path.relpath(path) if not os.path.relpath(path).startswith("..") else str(path),
            recipe=recipe,
            recipe_text=text,
            inputs=directory.read_json(path / directory.INPUTS),
            document=document,
            rows=[row for row in read_rows(path / directory.METRICS) if isinstance(row, dict) and "step" in row],
            alarms=read_rows(path / ALARMS),
        )
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read: {error}", where="RUN") from error


def ancestors(run: Run) -> tuple[list[Run], list[dict[str, Any]]]:
    """Return the runs behind `run`, oldest first, and every generation's entry of the lineage, `run` left out.

    A run that has moved is looked for beside its child; one that now holds something else is not taken.
    """
    found: list[Run] = []
    generations: list[dict[str, Any]] = []
    child = run
    while (parent := _parent(child)) is not None:
        found.insert(0, parent)
        child = parent
    for entry in _lineage(run):
        if entry.get("run") != run.document.get("run") or entry.get("finished") != run.document.get("finished"):
            generations.append(entry)
    return found, generations


def _parent(run: Run) -> Run | None:
    """Return the run that `run` started from, None where that was a base model or is gone."""
    said = (run.document.get("parent") or {}).get("run") or ("" if run.document else run.recipe["model"]["path"])
    if not said:
        return None
    lineage = _lineage(run)
    digest = lineage[-2]["recipe_digest"] if len(lineage) > 1 else None
    for place in (Path(said), run.path / said, run.path.parent / Path(said).name):
        if place.name == directory.FINAL:
            place = place.parent
        if not is_run(place) or place.resolve() == run.path.resolve():
            continue
        parent = read_run(place)
        if parent.finished and digest in (None, parent.document.get("recipe_digest")):
            return parent
    return None


def _lineage(run: Run) -> Sequence[dict[str, Any]]:
    path = run.path / directory.FINAL / directory.LINEAGE
    return directory.read_json(path) if path.is_file() else []


def _first_look(run: Path) -> set[Any]:
    rows = read_rows(run / directory.SAMPLES / "dev-000000.jsonl")
    return {row.get("key") for row in rows}
