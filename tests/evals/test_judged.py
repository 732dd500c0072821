"""A real judge that dies in the middle of an eval: its verdicts count, what it did not see counts nowhere."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

ASKED = "There are {{item.n}} apples in one box and {{item.m}} in the next. How many are there in all? "


def recipe(folder: Path, url: str, model: str, most: float) -> Path:
    """An eval of the built-in model, judged by what the same model, served, says the sum is."""
    rows = [{"prompt": f"Hello number {i}!", "n": 10 + i, "m": 3} for i in range(40)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    judge: dict[str, Any] = {
        "type": "label_model",
        "base_url": url,
        "model": model,
        "input": [{"role": "user", "content": ASKED + "Finish with Answer: and the number."}],
        "labels": [str(n) for n in range(200)],
        "passing_labels": [str(n) for n in range(0, 200, 2)],
        "sampling_params": {"temperature": 0, "max_completions_tokens": 56},
    }
    document = {
        "stage": "eval",
        "out": str(folder / "eval"),
        "model": {"path": "builtin:tiny", "dtype": "float32"},
        "data": {"dev": [{"path": str(folder / "rows.jsonl")}]},
        "graders": [
            judge | {"delimit": False, "parallel": 1, "max_retries": 0, "timeout_seconds": 20, "max_wait_seconds": 1}
        ],
        "rollout": {"max_new_tokens": 8, "max_grader_errors": most},
        "eval": {"samples": 1, "k": [1]},
    }
    path = folder / "eval.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("most", [1.0, 0.3])
def test_a_judge_that_is_killed(tmp_path: Path, doomed_server: Any, most: float) -> None:
    server, url, model = doomed_server
    path = recipe(tmp_path, url, model, most)
    command = [sys.executable, "-m", "posttrain", "eval", str(path), "--json"]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 240
    while len(kept(tmp_path)) < 12 and time.monotonic() < deadline and run.poll() is None:
        time.sleep(0.1)
    server.kill()
    out, err = run.communicate(timeout=240)
    rows = kept(tmp_path)
    judged = [row for row in rows if not row["error"]]
    failed = [row for row in rows if row["error"]]
    assert len(judged) >= 8 and failed, err
    assert {row["score"] for row in failed} == {None} and not any(row["passed"] for row in failed)
    if most < 1:
        assert run.returncode == 2 and "more than rollout.max_grader_errors allows (30%)" in err
        return
    assert run.returncode == 0, err
    (line,) = json.loads(out)["models"]
    assert len(rows) == 40 and line["problems"] == len(judged)
    assert sum(line["errors"].values()) == len(failed) and "model_grader_server_error" in line["errors"]
    assert line["pass@1"] == pytest.approx(sum(row["passed"] for row in judged) / len(judged))


def kept(folder: Path) -> list[dict[str, Any]]:
    """The rows that the eval has kept so far; one that is being written is not there yet."""
    files = list((folder / "eval" / "samples").glob("*.jsonl"))
    lines = files[0].read_text().split("\n")[:-1] if files else []
    return [json.loads(line) for line in lines if line.endswith("}")]
