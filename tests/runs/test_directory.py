"""Starting, resuming, finding finished, and refusing."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
import yaml

from posttrain.errors import UserError
from posttrain.runs import directory
from posttrain.runs.directory import locked, open_run

RECIPE = {
    "stage": "sft",
    "out": "runs/a",
    "seed": 1,
    "model": {"path": "builtin:tiny"},
    "data": {},
    "train": {"learning_rate": 1e-5},
    "launch": {},
}


def text(**changes) -> str:
    return yaml.safe_dump({**RECIPE, **changes})


def opened(run: Path, recipe: str, data: str = "d", parent: str = "p", fresh: bool = False) -> str:
    return open_run(run, recipe, data_digest=data, parent_digest=parent, fresh=fresh)


def checkpoint(run: Path, step: int) -> None:
    path = run / "checkpoints" / f"checkpoint-{step}"
    path.mkdir()
    (path / "trainer_state.json").write_text("{}")


def test_new_then_resume_then_finished(tmp_path: Path) -> None:
    run = tmp_path / "a"
    assert opened(run, text()) == "new"
    assert opened(run, text()) == "new"  # nothing was saved yet
    checkpoint(run, 9)
    checkpoint(run, 10)
    assert opened(run, text()) == "resume"
    assert directory.last_checkpoint(run) == run / "checkpoints" / "checkpoint-10"
    directory.write_json(run / "run.json", {})
    assert opened(run, text()) == "finished"
    assert opened(run, text(out="elsewhere", launch={"processes": 2})) == "finished"


def test_another_recipe_is_refused_with_the_keys_that_differ(tmp_path: Path) -> None:
    run = tmp_path / "a"
    opened(run, text())
    with pytest.raises(UserError, match=r"train\.learning_rate: 1e-05 there, 0\.001 here") as caught:
        opened(run, text(train={"learning_rate": 1e-3}))
    assert "--fresh" in str(caught.value)
    with pytest.raises(UserError, match="other rows"):
        opened(run, text(), data="e")
    with pytest.raises(UserError, match="another parent"):
        opened(run, text(), parent="q")
    assert opened(run, text(train={"learning_rate": 1e-3}), fresh=True) == "new"


def test_a_directory_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="not a run directory"):
        opened(tmp_path, text(), fresh=True)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_a_checkpoint_without_its_last_file_does_not_count(tmp_path: Path) -> None:
    run = tmp_path / "a"
    opened(run, text())
    (run / "checkpoints" / "checkpoint-5").mkdir()
    assert directory.last_checkpoint(run) is None


def hold(run: Path, held: multiprocessing.Event, done: multiprocessing.Event) -> None:  # type: ignore[valid-type]
    with locked(run):
        held.set()  # type: ignore[attr-defined]
        done.wait(30)  # type: ignore[attr-defined]


def test_two_processes_exclude_each_other_and_a_dead_one_lets_go(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held, done = context.Event(), context.Event()
    other = context.Process(target=hold, args=(tmp_path, held, done))
    other.start()
    assert held.wait(30)
    with pytest.raises(UserError, match="another process"), locked(tmp_path):
        pass
    other.kill()
    other.join()
    with locked(tmp_path):
        pass
