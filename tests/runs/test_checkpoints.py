"""Which checkpoint a run goes on from, and which are kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from posttrain.errors import UserError
from posttrain.runs import checkpoints
from posttrain.runs.whole import written_whole


@pytest.fixture
def run(tmp_path: Path) -> Path:
    for step in (4, 8, 12):
        save(tmp_path, step)
    return tmp_path


def save(run: Path, step: int, **facts) -> None:
    with written_whole(checkpoints.place_of(run, step), **facts) as aside:
        (aside / "model.safetensors").write_bytes(b"weights" * step)


def steps(run: Path) -> list[int]:
    return [checkpoints.step_of(path) for path in checkpoints.kept(run)]


def test_the_newest_is_gone_on_from(run: Path) -> None:
    assert checkpoints.settle(run) == []
    assert checkpoints.newest(run) == run / "checkpoints" / "checkpoint-12"


def test_a_damaged_one_is_set_aside_and_the_one_before_is_used(run: Path) -> None:
    (run / "checkpoints/checkpoint-12/model.safetensors").write_bytes(b"Weights" + b"weights" * 11)
    (run / "checkpoints/checkpoint-8/model.safetensors").write_bytes(b"weights" * 7)
    twelve, eight = checkpoints.settle(run)
    assert "checkpoint-12 is not whole (model.safetensors has changed since it was written)" in twelve
    assert "checkpoint-8 is not whole (model.safetensors has 49 bytes of 56)" in eight
    assert steps(run) == [4]
    assert (run / "checkpoints" / "checkpoint-12.broken").is_dir()
    assert checkpoints.settle(run) == []


def test_what_a_killed_process_left_is_cleared_and_never_taken(run: Path) -> None:
    aside = checkpoints.aside_of(checkpoints.place_of(run, 16))
    aside.mkdir(parents=True)
    (aside / "model.safetensors").write_bytes(b"half")
    (run / "checkpoints/checkpoint-20").mkdir()  # in place, as a trainer of another make writes
    (run / "checkpoints/checkpoint-20/trainer_state.json").write_text("{}")
    (run / "final.partial").mkdir()
    (run / "metrics.jsonl.partial").write_text("{")
    assert checkpoints.newest(run) == run / "checkpoints" / "checkpoint-12"
    (note,) = checkpoints.settle(run)
    assert "checkpoint-20 is not whole (it has no manifest.json" in note
    left = {path.name for folder in (run, run / "checkpoints") for path in folder.iterdir()}
    assert left == {"checkpoints", "checkpoint-4", "checkpoint-8", "checkpoint-12", "checkpoint-20.broken"}


def test_a_damaged_best_is_set_aside_too(run: Path) -> None:
    save(run, 16, best=8)
    (run / "checkpoints/checkpoint-8/model.safetensors").write_bytes(b"")
    (note,) = checkpoints.settle(run)
    assert "checkpoint-8 is not whole" in note
    assert steps(run) == [4, 12, 16]


def test_from_a_step_drops_the_later_ones(run: Path) -> None:
    with pytest.raises(UserError, match="no checkpoint of step 9\n  there are: 4, 8, 12"):
        checkpoints.settle(run, 9)
    assert steps(run) == [4, 8, 12]
    checkpoints.settle(run, 8)
    assert steps(run) == [4, 8]


def test_the_last_and_their_best_are_kept_whatever_the_clock_says(run: Path) -> None:
    save(run, 16, best=8)
    save(run, 20, best=20)
    save(run, 2)  # the youngest by its time
    checkpoints.prune(run, 2)
    assert steps(run) == [8, 16, 20]  # 16 cannot be gone on from without 8
    checkpoints.prune(run, 1)
    assert steps(run) == [20]
    checkpoints.prune(run, None)
    assert steps(run) == [20]
