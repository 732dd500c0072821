"""RLVR that chooses its problems by their rewards: the same on two ranks, and the same when it was interrupted."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.chain.conftest import COMMAND, environment
from tests.chain.test_resume import assert_same_run, wait_for_step

pytestmark = pytest.mark.slow

CHOOSING = {"dynamic_sampling": True, "retire": {"looks": 1, "steps": 3}}
LOOK = {"every": 3, "samples": 4, "k": [1, 4], "limit": 4}


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_two_ranks_choose_and_train_as_one_does(posttrain, recipe, tmp_path) -> None:
    runs = []
    for name, processes, zero in (("one", 1, 0), ("ddp", 2, 0), ("zero-3", 2, 3)):
        train = {"max_steps": 3, "per_device_train_batch_size": 16 // processes}
        launch = {"processes": processes, "zero": zero}
        path = recipe("rlvr", name, train=train, launch=launch, eval=LOOK, rollout=CHOOSING)
        done = posttrain("rlvr", str(path))
        assert done.returncode == 0, done.stderr
        runs.append(tmp_path / "runs" / name)
    one, *others = runs
    looks = rows(one / "looks.jsonl")
    assert any(not look["trained"] for look in looks)
    steps = [row for row in rows(one / "metrics.jsonl") if row["split"] == "train"]
    assert sum(row["rollout/samples"] for row in steps) == 4 * len(looks)
    for step in steps:
        of = [look for look in looks if look["step"] == step["step"]]
        assert sum(look["trained"] for look in of) == 4
        flat = sum(look["trained"] and not look["varied"] for look in of)
        assert step["rollout/equal_rewards"] == flat / 4
        assert step["rollout/skipped"] == pytest.approx(flat / 4)
    for run in others:
        assert rows(run / "looks.jsonl") == looks
        losses = [row["loss"] for row in rows(run / "metrics.jsonl") if row["split"] == "train"]
        assert losses == pytest.approx([row["loss"] for row in steps], abs=1e-4)


def test_a_resumed_run_draws_what_it_would_have_drawn(posttrain, recipe, tmp_path) -> None:
    whole, cut = (
        recipe("rlvr", name, train={"max_steps": 6}, eval=LOOK, rollout=CHOOSING) for name in ("whole", "cut")
    )
    assert posttrain("rlvr", str(whole)).returncode == 0
    process = subprocess.Popen([*COMMAND, "rlvr", str(cut)], cwd=tmp_path, env=environment())
    wait_for_step(tmp_path / "runs/cut", 2, process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 143
    kept = rows(tmp_path / "runs/cut/looks.jsonl")
    assert posttrain("rlvr", str(cut)).returncode == 0
    assert_same_run(tmp_path / "runs/cut", tmp_path / "runs/whole")
    looks = rows(tmp_path / "runs/whole/looks.jsonl")
    assert kept == looks[: len(kept)]
    assert rows(tmp_path / "runs/cut/looks.jsonl") == looks
