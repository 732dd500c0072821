"""Starting, resuming, finding finished, and refusing."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
import yaml

from posttrain.errors import UserError
from posttrain.runs import checkpoints, directory
from posttrain.runs.directory import open_run
from posttrain.runs.lock import locked
from posttrain.runs.whole import written_whole

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


def opened(run: Path, recipe: str, data: str = "d", parent: str = "p", **options) -> str:
    return open_run(run, recipe, data_digest=data, parent_digest=parent, **options)


def checkpoint(run: Path, step: int, processes: int = 1, zero: int = 0) -> None:
    facts = {"ranks": {"processes": processes, "zero": zero}}
    with written_whole(checkpoints.place_of(run, step), **facts) as aside:
        (aside / "trainer_state.json").write_text("{}")


def test_new_then_resume_then_finished(tmp_path: Path) -> None:
    run = tmp_path / "a"
    assert opened(run, text()) == "new"
    assert opened(run, text()) == "new"  # nothing was saved yet
    checkpoint(run, 9)
    checkpoint(run, 10)
    assert opened(run, text()) == "resume"
    assert checkpoints.newest(run) == run / "checkpoints" / "checkpoint-10"
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


def test_fresh_empties_a_run_and_nothing_else(tmp_path: Path) -> None:
    """A directory with a recipe.yaml of the user's own is not a run."""
    (tmp_path / "recipe.yaml").write_text("stage: sft")
    (tmp_path / "rows.jsonl").write_text("{}")
    for fresh in (False, True):
        with pytest.raises(UserError, match="not a run directory"):
            opened(tmp_path, text(), fresh=fresh)
    assert {path.name for path in tmp_path.iterdir()} == {"recipe.yaml", "rows.jsonl"}


def test_a_first_start_that_was_killed_is_started_anew(tmp_path: Path) -> None:
    for left in ("inputs.json.partial", "inputs.json", "recipe.yaml.partial"):
        (tmp_path / left).write_text("{")
        assert opened(tmp_path, text()) == "new"
        for path in ("recipe.yaml", "inputs.json"):
            (tmp_path / path).unlink()


def test_fresh_keeps_the_lock_that_this_process_holds(tmp_path: Path) -> None:
    run = tmp_path / "a"
    with locked(run):
        opened(run, text())
        (run / "metrics.jsonl").write_text("{}")
        opened(run, text(), fresh=True)
        assert not (run / "metrics.jsonl").exists()
        with pytest.raises(UserError, match="another process"), locked(run):
            pass


def test_a_changed_grader_file_is_another_recipe(tmp_path: Path) -> None:
    code = tmp_path / "grader.py"
    code.write_text("def grade(completion, problem): return 0.0")
    recipe = text(graders=[{"type": "python", "path": f"{code}:grade"}])
    run = tmp_path / "a"
    opened(run, recipe)
    elsewhere = tmp_path / "moved.py"
    elsewhere.write_text(code.read_text())
    assert opened(run, text(graders=[{"type": "python", "path": f"{elsewhere}:grade"}])) == "new"
    code.write_text("def grade(completion, problem): return 1.0")
    with pytest.raises(UserError, match=r"graders\[0\]\.path: the file has changed"):
        opened(run, recipe)


def test_a_run_goes_on_with_other_processes_but_not_another_zero_stage(tmp_path: Path) -> None:
    run = tmp_path / "a"
    assert opened(run, text(launch={"zero": 2}), world_size=2) == "new"
    assert directory.processes_of(run) is None
    checkpoint(run, 3, processes=2, zero=2)
    with pytest.raises(UserError, match="interrupted with zero 2, and cannot go on with zero 0"):
        opened(run, text(), world_size=2)
    assert opened(run, text(launch={"zero": 2}), world_size=1) == "resume"
    checkpoint(run, 4, processes=1, zero=2)
    assert opened(run, text(launch={"zero": 2}), world_size=4) == "resume"
    assert directory.processes_of(run) == 2  # what its batch sizes are for


def test_from_goes_back_and_reopens_a_finished_run(tmp_path: Path) -> None:
    run = tmp_path / "a"
    with pytest.raises(UserError, match="holds no run to go on with"):
        opened(run, text(), from_step=4)
    opened(run, text())
    for step in (4, 8):
        checkpoint(run, step)
    directory.write_json(run / "run.json", {})
    with pytest.raises(UserError, match="there are: 4, 8"):
        opened(run, text(), from_step=6)
    with pytest.raises(UserError, match="--fresh throws away"):
        opened(run, text(), from_step=4, fresh=True)
    assert (run / "run.json").exists()
    assert opened(run, text(), from_step=4) == "resume"
    assert not (run / "run.json").exists()
    assert checkpoints.newest(run) == run / "checkpoints" / "checkpoint-4"


def test_samples_of_steps_taken_again_are_forgotten(tmp_path: Path) -> None:
    run = tmp_path / "a"
    opened(run, text())
    for name in ("train-000003-rank0", "train-000004-rank0", "dev-000002", "dev-000004"):
        (run / "samples" / f"{name}.jsonl").write_text("{}\n")
    directory.forget_samples_after(run, 3)
    assert sorted(path.stem for path in (run / "samples").iterdir()) == ["dev-000002", "train-000003-rank0"]


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"), locked(tmp_path / "file" / "run"):
        pass
