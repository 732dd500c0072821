"""From a log of thumbs to a better model: import, KTO, and the rate of good answers on problems held out."""

from __future__ import annotations

import json
import sys
from math import hypot
from pathlib import Path
from random import Random

import pytest
import yaml

from posttrain.builtin.thumbs import draw_log

from .conftest import QUICKSTART

pytestmark = pytest.mark.slow

# A good answer, as the log's users see it: the right number in the asked line, and nothing after it.
GOOD = {"type": "pattern", "pattern": r"Answer: (?P<answer>-?[0-9]+)\s*$"}


def test_thumbs_of_a_log_make_good_answers_more_frequent(posttrain, tmp_path: Path) -> None:
    rows = draw_log(Random("thumbs"))
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    done = posttrain("data", "feedback", "log.jsonl", "--out", "kto.jsonl", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["rows"], said["used"], said["up"], said["down"]) == (2000, 1800, 1440, 360)
    recipe = {
        "stage": "kto",
        "out": "runs/kto",
        "seed": 7,
        "model": {"path": "builtin:tiny", "dtype": "float32"},
        "data": {
            "train": [{"path": "kto.jsonl"}],
            "dev": {"fraction": 0.1, "by": "user"},
            "problems": [{"path": str(QUICKSTART / "data" / "dev.jsonl")}],
        },
        "graders": [GOOD],
        "train": {
            "max_steps": 40,
            "per_device_train_batch_size": 16,
            "gradient_accumulation_steps": 1,
            "learning_rate": 2e-4,
            "precompute_ref_log_probs": False,
        },
        "rollout": {"max_new_tokens": 56},
        "eval": {"every": 1000, "samples": 4, "k": [1], "limit": 100},
    }
    (tmp_path / "kto.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    trained = posttrain("kto", "kto.yaml", timeout_seconds=600)
    assert trained.returncode == 0, trained.stderr
    assert "training rows, by user" in trained.stderr
    # What training balances: the labels of the rows that the split has left it.
    line = next(line for line in trained.stderr.splitlines() if "up (weight" in line)
    up, down = (int(word.replace(",", "")) for word in line.split() if word.replace(",", "").isdigit())
    assert up + down == json.loads((tmp_path / "runs/kto/run.json").read_text())["rows"]["train"]
    assert f"down (weight {up / down:.3g})" in line
    metrics = json.loads((tmp_path / "runs/kto/run.json").read_text())["metrics"]
    before, after = metrics["dev_before"], metrics["dev_after"]
    error = hypot(before["pass@1_stderr"], after["pass@1_stderr"])
    assert after["pass@1"] - before["pass@1"] > 2 * error
    assert after["pass@1"] > 0.4
    print(f"good answers: {before['pass@1']:.3f} -> {after['pass@1']:.3f}, ± {error:.3f}", file=sys.stderr)
