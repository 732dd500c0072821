"""What a user can get wrong: one message with its place, exit code 2, soon, and nothing written."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.chain.conftest import environment

# Says on stderr when the command imported torch, which alone takes seconds.
LIGHT = """
import atexit, sys
atexit.register(lambda: 'torch' in sys.modules and print('IMPORTED TORCH', file=sys.stderr))
from posttrain.cli import main
main()
"""


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def mistyped_key(path: Path) -> None:
    change(path, "seed:", "sede:")


def mistyped_trl_key(path: Path) -> None:
    change(path, "max_steps:", "max_step:")


def duplicate_key(path: Path) -> None:
    path.write_text(path.read_text() + "seed: 4\n")


def missing_file(path: Path) -> None:
    change(path, "sft.jsonl", "stf.jsonl")


def malformed_row(path: Path) -> None:
    good = '{"prompt": "a", "completion": "b"}\n'
    (path.parent / "rows.jsonl").write_text(good * 136 + '{"prompt": "a", "completion": \n' + good)
    use_rows(path)


def empty_data(path: Path) -> None:
    (path.parent / "rows.jsonl").write_text("")
    use_rows(path)


def held_out_is_trained(path: Path) -> None:
    (path.parent / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    document = yaml.safe_load(path.read_text())
    document["data"] = {"train": [{"path": "rows.jsonl"}], "dev": [{"path": "rows.jsonl"}]}
    path.write_text(yaml.safe_dump(document))


def no_such_model(path: Path) -> None:
    change(path, "builtin:tiny", "runs/nowhere")


def unfinished_parent(path: Path) -> None:
    run = path.parent / "runs" / "half"
    (run / "final").mkdir(parents=True)
    (run / "recipe.yaml").write_text("stage: sft\n")
    change(path, "builtin:tiny", "runs/half")


def wrong_stage(path: Path) -> None:
    change(path, "stage: sft", "stage: dpo")


def broken_yaml(path: Path) -> None:
    path.write_text(path.read_text() + "train: [\n")


def use_rows(path: Path) -> None:
    document = yaml.safe_load(path.read_text())
    document["data"]["train"] = [{"path": "rows.jsonl"}]
    path.write_text(yaml.safe_dump(document))


MISTAKES = [
    (mistyped_key, r"error: sft\.yaml:\d+ sede: unknown key.*Did you mean 'seed'"),
    (mistyped_trl_key, r"error: sft\.yaml:\d+ train\.max_step: .*Did you mean 'max_steps'"),
    (duplicate_key, r"error: sft\.yaml:\d+.*seed"),
    (missing_file, r"error: sft\.yaml:\d+ data\.train\[0\]\.path: .*stf\.jsonl.*\n?.*sft\.jsonl"),
    (malformed_row, r"error: rows\.jsonl:137: not valid JSON"),
    (empty_data, r"error: .*rows\.jsonl.*(empty|no rows)"),
    (held_out_is_trained, r"error: .*rows\.jsonl:1"),
    (no_such_model, r"error: sft\.yaml:\d+ model\.path: .*runs/nowhere"),
    (unfinished_parent, r"error: sft\.yaml:\d+ model\.path: .*unfinished"),
    (wrong_stage, r"error: sft\.yaml:\d+.*stage"),
    (broken_yaml, r"error: sft\.yaml:\d+"),
]


@pytest.mark.parametrize(("mistake", "message"), MISTAKES, ids=[mistake.__name__ for mistake, _ in MISTAKES])
def test_one_message_with_its_place(recipe, tmp_path: Path, mistake, message: str) -> None:
    path = recipe("sft")
    mistake(path)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    done = subprocess.run(
        [sys.executable, "-c", LIGHT, "sft", "sft.yaml"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.count("error:") == 1
    assert re.search(message, done.stderr), done.stderr
    assert "Traceback" not in done.stderr
    assert "IMPORTED TORCH" not in done.stderr
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before


def test_an_empty_pipe_says_so(posttrain, recipe) -> None:
    done = posttrain("dpo", str(recipe("dpo")), "--model", "-", stdin="")
    assert done.returncode == 2
    assert done.stderr == "dpo not started: nothing came from the stage before it in the pipe\n"


def test_a_mistyped_command_is_named(posttrain) -> None:
    done = posttrain("stf", "a.yaml")
    assert done.returncode == 2
    assert "sft" in done.stderr
