"""Where a checkpoint comes from: run.json for the run, lineage.json inside final/ for every generation so far."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from posttrain.runs import directory

if TYPE_CHECKING:
    from posttrain.model.resolve import Parent
    from posttrain.recipe.schema import Recipe

_OF_A_GENERATION = (
    "stage",
    "run",
    "base_model",
    "parent",
    "recipe_digest",
    "data_digest",
    "finished",
    "steps",
    "metrics",
)


def finished_document(run: Path, recipe: Recipe, parent: Parent, data_digest: str) -> dict[str, Any]:
    """Return the part of run.json that says what was made from what."""
    return {
        "stage": recipe.stage,
        "run": str(run),
        "base_model": parent.base_model,
        "parent": {
            "name": parent.name,
            "path": parent.path,
            "run": str(parent.run) if parent.run else None,
            "digest": parent.digest,
        },
        "recipe_digest": directory.read_json(run / directory.INPUTS)["recipe"],
        "data_digest": data_digest,
        "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def generation(document: dict[str, Any]) -> dict[str, Any]:
    """Return what a child remembers of a finished run, from its run.json document."""
    return {key: document[key] for key in _OF_A_GENERATION}
