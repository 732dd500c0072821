"""Steps whose gradient is no number, of two processes: DPO with a beta at which it overflows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

OVERFLOWS = {"max_steps": 2, "beta": 1e38, "warmup_steps": 0, "per_device_train_batch_size": 4}


def test_steps_left_out_under_zero_3_leave_the_parents_weights(posttrain, recipe, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    from posttrain.model.resolve import resolve

    skip = {"nonfinite": "skip", "max_skipped": 9}
    path = recipe("dpo", "z3", train=OVERFLOWS, alarms=skip, launch={"processes": 2, "zero": 3})
    done = posttrain("dpo", str(path))
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("is left out: the gradient's norm is no number") == 2
    run = tmp_path / "runs" / "z3"
    assert json.loads((run / "run.json").read_text())["skipped_steps"] == 2
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [(row["loss"], row["skipped_steps"]) for row in rows if row["split"] == "train"] == [(None, 1.0)] * 2
    before = load_file(Path(str(resolve("builtin:tiny").path)) / "model.safetensors")
    after = load_file(run / "final" / "model.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name].float(), after[name].float()) for name in before)


@pytest.mark.parametrize("zero", [0, 2])
def test_all_ranks_stop_with_one_message(posttrain, recipe, tmp_path: Path, zero: int) -> None:
    path = recipe("dpo", "stops", train=OVERFLOWS, launch={"processes": 2, "zero": zero})
    done = posttrain("dpo", str(path))
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("step 1: the gradient's norm is no number; its update was not made") == 1
    assert "preferences.jsonl:" in done.stderr
    assert not (tmp_path / "runs" / "stops" / "run.json").exists()
