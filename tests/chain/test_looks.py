"""The same look in every stage: held-out problems sampled and graded, the best checkpoint, the early stop, the gate."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import QUICKSTART

pytestmark = pytest.mark.slow

DEV = QUICKSTART / "data" / "dev.jsonl"
PROBLEMS = {
    "data": {"problems": [{"path": str(DEV), "limit": 8}]},
    "graders": [{"type": "number"}],
    "rollout": {"max_new_tokens": 24},
    "eval": {"samples": 4, "k": [1, 4], "every": 2},
}


def dev_rows(run: Path) -> list[dict]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if row["split"] == "dev"]


@pytest.mark.parametrize("stage", ["sft", "dpo", "kto"])
def test_a_stage_samples_held_out_problems_beside_its_loss(stage, posttrain, recipe, tmp_path) -> None:
    done = posttrain(stage, str(recipe(stage, **PROBLEMS)))
    assert done.returncode == 0, done.stderr
    rows = dev_rows(tmp_path / "runs" / stage)
    assert [row["step"] for row in rows] == [0, 2, 3] or [row["step"] for row in rows] == [0, 2]
    for row in rows:
        assert {"loss", "reward", "pass@1", "pass@4", "pass@1_stderr", "grader_errors"} <= row.keys()
    kept = (tmp_path / "runs" / stage / "samples" / "dev-000002.jsonl").read_text().splitlines()
    assert len(kept) == 8 * 4
    passed = sum(json.loads(line)["passed"] for line in kept)
    assert rows[1]["pass@1"] == pytest.approx(passed / 32)
    document = json.loads((tmp_path / "runs" / stage / "run.json").read_text())
    assert document["metrics"]["dev_before"]["pass@1"] == rows[0]["pass@1"]
    assert "dev pass@1" in done.stderr


def test_without_rows_for_a_loss_the_look_stands_alone_and_chooses_the_checkpoint(posttrain, recipe, tmp_path) -> None:
    sections = {**PROBLEMS, "eval": {**PROBLEMS["eval"], "every": 1, "best_by": "pass@1", "patience": 1}}
    path = recipe("sft", train={"max_steps": 12, "learning_rate": 0.5}, **sections)
    text = path.read_text().replace("  dev:\n    fraction: 0.125\n", "")
    path.write_text(text)
    done = posttrain("sft", str(path))
    assert done.returncode == 0, done.stderr
    rows = dev_rows(tmp_path / "runs" / "sft")
    assert "loss" not in rows[0]
    # So high a learning rate destroys the model, so that no later look is better than an early one.
    assert "no better pass@1 in 1 looks: stopping" in done.stderr
    assert len(rows) < 10
    looks = {row["step"]: row["pass@1"] for row in rows if row["step"] > 0}
    best = max(looks, key=lambda step: (looks[step], -step))
    document = json.loads((tmp_path / "runs" / "sft" / "run.json").read_text())
    assert document["metrics"]["dev_after"]["step"] == best


def test_training_rows_that_ask_a_held_out_problem_are_refused(posttrain, recipe, tmp_path) -> None:
    asked = json.loads(DEV.read_text().splitlines()[0])["prompt"]
    messages = [{"role": "user", "content": asked}, {"role": "assistant", "content": "No."}]
    (tmp_path / "rows.jsonl").write_text(json.dumps({"messages": messages}) + "\n")
    data = {"train": [{"path": "rows.jsonl"}], "dev": None, "problems": [{"path": str(DEV)}]}
    sections = {**PROBLEMS, "data": data}
    done = posttrain("sft", str(recipe("sft", **sections)))
    assert done.returncode == 2
    assert "1 of 100 problems rows are also training rows" in done.stderr


def impossible(tmp_path: Path, recipe) -> Path:
    """An rlvr recipe whose answers the model never gives."""
    rows = [json.loads(line) for line in (QUICKSTART / "data" / "problems.jsonl").read_text().splitlines()[:12]]
    path = tmp_path / "impossible.jsonl"
    path.write_text("".join(json.dumps({**row, "answer": 10**9 + 7}) + "\n" for row in rows))
    return recipe("rlvr", data={"train": [{"path": str(path)}], "dev": None})


def test_rlvr_and_signal_refuse_what_cannot_be_learned(posttrain, recipe, tmp_path) -> None:
    path = impossible(tmp_path, recipe)
    for command in ("rlvr", "signal"):
        done = posttrain(command, str(path))
        assert done.returncode == 3, done.stderr
        assert "error: no signal: none of 12 problems was solved in 4 attempts each" in done.stderr
    assert not (tmp_path / "runs" / "rlvr" / "run.json").exists()
    done = posttrain("rlvr", str(path), "--set", "signal.problems=0")
    assert done.returncode == 0, done.stderr


def test_signal_shows_the_histogram_and_its_problems_train(posttrain, recipe, tmp_path) -> None:
    path = recipe("rlvr", data={"dev": None}, train={"max_completion_length": 56})
    done = posttrain("signal", str(path), "--json", "--limit", "24")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert sum(document["histogram"]) == document["problems"] == 24
    assert document["never"] + document["between"] + document["always"] == 24
    kept = Path(tmp_path, document["problems_file"]).read_text().splitlines()
    assert len(kept) == document["kept"] == document["teaching"] > 0
    again = posttrain("signal", str(path), "--limit", "24")
    assert "pass@1" in again.stdout and "signal: 96 completions in 0 s" in again.stderr
    path = recipe("rlvr", "kept", data={"train": [{"path": document["problems_file"]}], "dev": None})
    path.write_text(path.read_text().replace("path: runs", f"path: {tmp_path}/runs"))
    assert posttrain("check", str(path)).returncode == 0


def test_sample_makes_rows_that_the_stages_take(posttrain, recipe, tmp_path) -> None:
    path = recipe("rlvr", data={"dev": None}, train={"max_completion_length": 56})
    done = posttrain("sample", str(path), "--samples", "4", "--limit", "32", "--best", "2", "--json")
    assert done.returncode == 0, done.stderr
    files = json.loads(done.stdout)["files"]
    for stage, file in files.items():
        assert file["rows"] > 4
        train = {"train": [{"path": str(tmp_path / file["path"])}], "dev": None}
        trained = posttrain(stage, str(recipe(stage, data=train)))
        assert trained.returncode == 0, trained.stderr
