# ruff: noqa: E501  (recipes on one line)
"""Keys planted in the environment, in settings and in rows, and looked for in all that a run says and leaves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PLANTED = {
    "HF_TOKEN": "planted-hf-1a2b3c4d5e6f",
    "OPENAI_API_KEY": "planted-openai-1a2b3c4d",
    "WANDB_API_KEY": "planted-wandb-1a2b3c4d5e",
    "AWS_ACCESS_KEY_ID": "PLANTEDAWSID12345678",
    "AWS_SECRET_ACCESS_KEY": "planted/aws+secret/1a2b3c4d",
    "AWS_SESSION_TOKEN": "planted-aws-session-1a2b",
    "JUDGES_PASS": "planted-judge-1a2b3c4d5e",  # by its name no key: the recipe says that it is one
    "DB_PASSWORD": "planted-password-1a2b3c",
}
OF_A_ROW = "sk-proj-plantedinarow1A2b3C4d5E6f"


@pytest.fixture
def program(tmp_path: Path) -> Any:
    """Run the program with the planted environment; give its exit code and all that it printed."""
    environ = os.environ | PLANTED | {"POSTTRAIN_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}

    def run(*arguments: object, code: int) -> str:
        command = [sys.executable, "-m", "posttrain", *map(str, arguments)]
        done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=300)
        assert done.returncode == code, done.stderr
        (tmp_path / "said").mkdir(exist_ok=True)
        (tmp_path / "said" / f"{len(list((tmp_path / 'said').iterdir()))}.txt").write_text(done.stdout + done.stderr)
        return done.stdout + done.stderr

    return run


def found_in(folder: Path, secret: str) -> list[str]:
    """Return the files that hold a secret, as it is or as JSON writes it, in any file of any kind."""
    forms = {secret.encode(), json.dumps(secret)[1:-1].encode(), secret.replace("/", "\\/").encode()}
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return [str(path.relative_to(folder)) for path in files if any(form in path.read_bytes() for form in forms)]


def nothing_leaked(folder: Path) -> None:
    for name, secret in PLANTED.items():
        assert not found_in(folder, secret), (name, found_in(folder, secret))


def write(path: Path, document: Any) -> Path:
    path.write_text(json.dumps(document))
    return path


def judge(url: str) -> dict[str, Any]:
    asked = [{"role": "user", "content": "{{ sample.output_text }}"}]
    return {"type": "score_model", "name": "judge", "base_url": url, "model": "m", "api_key_env": "JUDGES_PASS", "range": [0, 1],
            "pass_threshold": 0.5, "max_retries": 1, "timeout_seconds": 9, "input": asked}  # fmt: skip


def problems(folder: Path, count: int = 8) -> None:
    rows = [{"prompt": f"What is {n}+1? {OF_A_ROW}", "answer": n + 1} for n in range(count)]
    (folder / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.slow
def test_training_with_a_key_in_a_row(program: Any, tmp_path: Path) -> None:
    rows = [{"prompt": f"q{n}", "completion": f"my key is {OF_A_ROW}"} for n in range(8)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe: dict[str, Any] = {
        "stage": "sft",
        "out": "run",
        "data": {"train": [{"path": "rows.jsonl"}]},
        "train": {"max_steps": 2, "per_device_train_batch_size": 2, "save_steps": 1},
    }
    write(tmp_path / "sft.yaml", recipe)
    program("sft", "sft.yaml", code=0)
    (tmp_path / "bad.jsonl").write_text(json.dumps({"messages": [{"role": OF_A_ROW, "content": "x"}]}) + "\n")
    program("sft", "sft.yaml", "--set", "data.train[0].path=bad.jsonl", "--out", "other", "--debug", code=1)
    assert "role" in program("sft", "sft.yaml", "--set", "data.train[0].path=bad.jsonl", "--out", "other", code=2)
    nothing_leaked(tmp_path)
    held = {
        path for path in found_in(tmp_path, OF_A_ROW) if not path.startswith("cache/") and not path.endswith(".jsonl")
    }
    assert not held, held  # what rows are made into is kept in the cache alone


@pytest.mark.slow
def test_rlvr_with_a_judge(program: Any, tmp_path: Path, chat_server: Any) -> None:
    problems(tmp_path)
    recipe: dict[str, Any] = {
        "stage": "rlvr",
        "out": "run",
        "data": {"train": [{"path": "problems.jsonl"}], "dev": {"fraction": 0.25}},
        "graders": [judge(chat_server.base_url)],
        "train": {"max_steps": 1, "num_generations": 2, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 1,
                  "max_completion_length": 8, "save_steps": 1},
        "rollout": {"max_new_tokens": 8, "max_grader_errors": 1.0},
        "eval": {"samples": 1, "k": [1]},
        "signal": {"problems": 0},
    }  # fmt: skip
    write(tmp_path / "rlvr.yaml", recipe)
    echo = {"content": json.dumps({"score": 0.5}), "key": PLANTED["JUDGES_PASS"]}
    chat_server.script(echo, echo, echo, {"status": 500, "content": f"Bearer {PLANTED['JUDGES_PASS']}"}, echo)
    program("rlvr", "rlvr.yaml", code=0)
    assert any(seen["headers"]["authorization"] == f"Bearer {PLANTED['JUDGES_PASS']}" for seen in chat_server.seen())
    nothing_leaked(tmp_path)
    held = {path.split("/")[1] for path in found_in(tmp_path, OF_A_ROW) if path.startswith("run/")}
    assert held <= {"samples", "looks.jsonl"}, held
    assert not found_in(tmp_path / "said", OF_A_ROW)


@pytest.mark.slow
def test_evals_of_an_endpoint_that_fails(program: Any, tmp_path: Path, chat_server: Any) -> None:
    problems(tmp_path, 3)
    recipe = {"stage": "eval", "out": "eval", "data": {"dev": [{"path": "problems.jsonl"}]}, "graders": [{"type": "number"}],
              "model": {"path": f"{chat_server.base_url}#m"}, "rollout": {"max_new_tokens": 8}, "eval": {"samples": 1, "k": [1]}}  # fmt: skip
    write(tmp_path / "eval.yaml", recipe)
    chat_server.script({"content": f"3 {OF_A_ROW}"})
    program("eval", "eval.yaml", code=0)
    for step in (
        {"key": "another"},  # says the key that it was sent
        {"status": 429, "content": f"slow down, {PLANTED['OPENAI_API_KEY']}", "headers": {"Retry-After": "0"}},
        {"raw": f"<html>{PLANTED['OPENAI_API_KEY']}</html>", "status": 502},
    ):
        chat_server.script(step)
        for more in ((), ("--debug",)):
            program("eval", "eval.yaml", "--out", "other", *more, code=1 if more else 2)
    nothing_leaked(tmp_path)
    assert not found_in(tmp_path / "said", OF_A_ROW)


@pytest.mark.slow
def test_credentials_in_addresses(program: Any, tmp_path: Path) -> None:
    secret = "planted-in-an-address"
    problems(tmp_path, 3)
    base: dict[str, Any] = {
        "stage": "eval",
        "out": "eval",
        "data": {"dev": [{"path": "problems.jsonl"}]},
        "graders": [{"type": "number"}],
    }
    for number, address in enumerate(
        (
            f"http://me:{secret}@127.0.0.1:9/v1",
            f"http://127.0.0.1:9/v1?token={secret}",
            f"https://127.0.0.1:9/v1?api_key={secret}",
        )
    ):
        recipes = [
            base | {"model": {"path": f"{address}#m"}},
            base | {"graders": [judge(address)]},
            base | {"data": {"dev": [{"path": f"{address}/x.jsonl"}]}},
        ]
        for kind, recipe in enumerate(recipes):
            path = write(tmp_path / "eval.yaml", recipe)
            program("check" if (number + kind) % 2 else "eval", path.name, code=2)
            path.unlink()
            assert not found_in(tmp_path, secret), (kind, found_in(tmp_path, secret))
    nothing_leaked(tmp_path)


@pytest.mark.slow
def test_a_crash_of_a_rank(program: Any, tmp_path: Path) -> None:
    """A grader of one's own that fails with a key in its words, in processes of their own."""
    problems(tmp_path)
    (tmp_path / "broken.py").write_text(
        "import os\ndef grade(sample, item):\n    raise ValueError(os.environ.get('HF_TOKEN', 'no token here'))\n"
    )
    recipe = {"stage": "eval", "out": "eval", "data": {"dev": [{"path": "problems.jsonl"}]}, "rollout": {"max_new_tokens": 8},
              "graders": [{"type": "python", "path": "broken.py:grade"}], "eval": {"samples": 1, "k": [1]}}  # fmt: skip
    write(tmp_path / "eval.yaml", recipe)
    program("eval", "eval.yaml", code=2)
    nothing_leaked(tmp_path)
