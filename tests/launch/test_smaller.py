"""Real processes that run out of memory until their batch is small enough."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from posttrain.errors import OutOfMemory
from posttrain.launch.plan import Plan, Process
from posttrain.launch.smaller import run_smaller_and_smaller, with_recorded
from posttrain.recipe.load import dump_recipe, load_recipe
from posttrain.recipe.schema import Recipe
from posttrain.runs import directory

# Trains only micro-batches of at most so many rows, and notes which it was asked for.
RANK = """
import sys
from pathlib import Path
import yaml
from posttrain.errors import OutOfMemory
from posttrain.launch.failure import write_failure
run, most = Path(sys.argv[1]), int(sys.argv[2])
train = yaml.safe_load((run / "recipe.yaml").read_text())["train"]
with (run / "tried").open("a") as tried:
    print(train["per_device_train_batch_size"], train["gradient_accumulation_steps"], file=tried)
if train["per_device_train_batch_size"] > most:
    write_failure(run, 0, OutOfMemory(f"out of memory with {train['per_device_train_batch_size']} rows"))
    sys.exit(2)
"""


def recipe(run: Path) -> Recipe:
    return Recipe.model_validate(
        {
            "stage": "sft",
            "out": str(run),
            "data": {"train": [{"path": "rows.jsonl"}]},
            "train": {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 3},
            "launch": {"on_out_of_memory": "smaller"},
        }
    )


def run_with(run: Path, most: int) -> None:
    asked = recipe(run)
    directory.open_run(run, dump_recipe(asked), data_digest="", parent_digest="")
    rank = Process("the process", (sys.executable, "-c", RANK, str(run), str(most)))
    run_smaller_and_smaller(asked, run, lambda: Plan(run, 1, (rank,)))


def test_it_goes_on_with_half_until_it_fits_and_remembers(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    run_with(run, most=3)
    assert (run / "tried").read_text() == "8 3\n4 6\n2 12\n"  # 24 rows a step, each time
    said = capfd.readouterr().err
    assert "out of memory with 8 rows\n  going on from the start with train.per_device_train_batch_size=4" in said
    changes = json.loads((run / directory.SMALLER).read_text())
    assert [change["why"] for change in changes] == ["out of memory with 8 rows", "out of memory with 4 rows"]
    assert (run / directory.RECIPE).read_text().startswith("# --set train.per_device_train_batch_size=4")
    assert load_recipe(run / directory.RECIPE, stage="sft").recipe.train == with_recorded(recipe(run), run).train

    run_with(run, most=3)  # the same command again, with the recipe as it was
    assert (run / "tried").read_text().endswith("2 12\n2 12\n")


def test_one_row_that_is_too_much_ends_it(tmp_path: Path) -> None:
    with pytest.raises(OutOfMemory, match="with 1 rows"):
        run_with(tmp_path / "run", most=0)
    assert (tmp_path / "run" / "tried").read_text().split()[::2] == ["8", "4", "2", "1"]
