"""A stage's trainer made in this process, on the shipped model and data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from posttrain.data.load import Loaded, load_data
from posttrain.model.resolve import resolve
from posttrain.recipe.load import dump_recipe, load_recipe
from posttrain.runs import directory
from posttrain.stages.job import Job

QUICKSTART = Path(__file__).parents[2] / "recipes" / "quickstart"


@pytest.fixture
def make_job(tmp_path: Path) -> Callable[..., tuple[Job, Loaded]]:
    """Return a function from a stage and `--set` overrides to a prepared job of the quickstart recipe, and the
    records it was made from."""

    def make(stage: str, *overrides: str, model: str = "builtin:tiny") -> tuple[Job, Loaded]:
        from posttrain.stages import terminal, train

        loaded = load_recipe(
            QUICKSTART / f"{stage}.yaml",
            stage=stage,
            model=model,
            out=str(tmp_path / stage),
            overrides=["model.dtype=float32", *overrides],  # exact, whatever the processor is fast at
        )
        rows = load_data(loaded.recipe.data, stage, seed=loaded.recipe.seed)
        run = tmp_path / stage
        directory.open_run(run, dump_recipe(loaded.recipe), data_digest=rows.digest, parent_digest="", fresh=True)
        terminal.quiet()
        return train.prepare(loaded.recipe, run, resolve(model), rows), rows

    return make
