"""A run that is stopped goes on where it was, and ends where the uninterrupted one ends."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.chain.conftest import COMMAND, environment

pytestmark = pytest.mark.slow


def wait_for_step(run: Path, step: int, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise AssertionError(f"ended with {process.returncode} before step {step}")
        metrics = run / "metrics.jsonl"
        if metrics.exists() and any(json.loads(line)["step"] >= step for line in metrics.read_text().splitlines()):
            return
        time.sleep(0.05)
    raise AssertionError(f"no step {step} in two minutes")


@pytest.mark.parametrize(("stage", "number", "code"), [("sft", signal.SIGINT, 130), ("rlvr", signal.SIGTERM, 143)])
def test_stopped_and_resumed_equals_uninterrupted(posttrain, recipe, tmp_path: Path, stage, number, code) -> None:
    train = {"max_steps": 12 if stage == "sft" else 6}
    whole = recipe(stage, "whole", train=train, eval={"every": 3, "samples": 4, "k": [1, 4]})
    cut = recipe(stage, "cut", train=train, eval={"every": 3, "samples": 4, "k": [1, 4]})
    assert posttrain(stage, str(whole)).returncode == 0

    process = subprocess.Popen([*COMMAND, stage, str(cut)], cwd=tmp_path, env=environment(), stdout=subprocess.PIPE)
    wait_for_step(tmp_path / "runs/cut", 2, process)
    process.send_signal(number)
    printed, _ = process.communicate(timeout=60)
    assert (process.returncode, printed) == (code, b"")
    assert not (tmp_path / "runs/cut/run.json").exists()

    refused = posttrain("dpo", str(recipe("dpo")), "--model", "runs/cut")
    assert refused.returncode == 2
    assert "unfinished" in refused.stderr

    resumed = posttrain(stage, str(cut))
    assert resumed.returncode == 0, resumed.stderr
    assert "resuming from step" in resumed.stderr
    assert_same_run(tmp_path / "runs/cut", tmp_path / "runs/whole")


def assert_same_run(left: Path, right: Path) -> None:
    """The same steps, each once, with the same losses; the same final weights."""
    from safetensors.torch import load_file

    def losses(run: Path) -> list[tuple]:
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        return [(row["step"], row["split"], row.get("loss"), row.get("reward")) for row in rows]

    assert [row[:2] for row in losses(left)] == [row[:2] for row in losses(right)]
    for ours, theirs in zip(losses(left), losses(right), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-5)
    one, two = (load_file(run / "final" / "model.safetensors") for run in (left, right))
    assert one.keys() == two.keys()
    assert max((one[name] - two[name]).abs().max().item() for name in one) < 1e-5
