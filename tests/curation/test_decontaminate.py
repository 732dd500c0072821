"""`data decontaminate`: clean rows as they were, what overlapped beside what; from files and from a recipe."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from posttrain.cli import app
from posttrain.curation import decontaminate as module
from posttrain.curation.decontaminate import Rule, decontaminate, report
from posttrain.data.read import read_rows
from posttrain.errors import UserError
from posttrain.recipe.check import check_recipe
from posttrain.recipe.schema import Source

STORY = "A farmer has 12 cows and sells 5 of them on the market . How many cows has the farmer left ?"
OTHER = STORY.replace("12", "31")
RECIPE = """\
stage: sft
out: runs/a
data:
  train:
    - path: train.jsonl
  unseen:
    - path: unseen.jsonl
  problems:
    - path: problems.jsonl
graders:
  - type: number
"""


def write(path: Path, rows: list[dict[str, Any]]) -> Source:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Source(path=str(path))


def answered(prompt: str) -> dict[str, Any]:
    return {"prompt": prompt, "completion": "7", "note": {"kept": [prompt]}}


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "posttrain", *arguments], cwd=cwd, capture_output=True, text=True)


def test_clean_rows_stay_as_they_were(tmp_path: Path) -> None:
    train = write(tmp_path / "train.jsonl", [answered(text) for text in ("Hi", "Well: " + STORY, "Hello", OTHER)])
    held_out = write(tmp_path / "test.jsonl", [{"prompt": "hi", "answer": 1}, {"prompt": STORY, "answer": 7}])
    lines = (tmp_path / "train.jsonl").read_bytes().splitlines(keepends=True)
    pairs = tmp_path / "pairs.jsonl"
    done = decontaminate([(train, "sft")], [(held_out, "rlvr")], tmp_path / "a.jsonl", report_to=pairs)
    assert (tmp_path / "a.jsonl").read_bytes() == lines[2]
    assert (done.read, done.written) == (4, 1)
    assert [(part.rows, part.overlapping) for part in done.held_out] == [(2, 2)]
    listed = [pair for pair, _ in read_rows(str(pairs))]
    assert [pair["training"]["place"].rpartition(":")[2] for pair in listed] == ["1", "2", "4"]
    assert [pair["held out"]["place"].rpartition(":")[2] for pair in listed] == ["1", "2", "2"]
    assert [pair["why"] for pair in listed] == ["100%", "100%", "82%"]  # 18 of 22 words
    start, end = listed[2]["training"]["marked"][0]
    assert OTHER[start:end] == STORY.partition(" 12 ")[2]
    said = "\n".join(report(done))
    assert "2 of 2 rows overlap (100.0%)" in said and "⟦" + STORY + "⟧" in said
    assert "wrote 1 of 4 training rows: 3 left out" in said
    rule, page = Rule(same_numbers=True), tmp_path / "b.html"
    same = decontaminate([(train, "sft")], [(held_out, "rlvr")], tmp_path / "b.jsonl", rule, report_to=page)
    assert (tmp_path / "b.jsonl").read_bytes() == lines[2] + lines[3]
    assert same.written == 2
    assert page.read_text().count("<mark>") == 4


def test_all_fields_take_in_the_answers(tmp_path: Path) -> None:
    train = write(tmp_path / "train.jsonl", [{"prompt": "Tell it.", "completion": STORY}, answered("Hi")])
    held_out = write(tmp_path / "test.jsonl", [{"prompt": STORY, "answer": "7"}])
    for number, (fields, written) in enumerate((("prompt", 2), ("all", 1))):
        rule, out = Rule(fields=fields), tmp_path / f"{number}.jsonl"  # type: ignore[arg-type]
        assert decontaminate([(train, "sft")], [(held_out, "rlvr")], out, rule).written == written


def test_what_is_refused(tmp_path: Path) -> None:
    train, held_out = (write(tmp_path / f"{name}.jsonl", [answered(STORY)]) for name in ("train", "test"))
    out = tmp_path / "out.jsonl"
    with pytest.raises(UserError, match="every one of the 1 training rows overlaps"):
        decontaminate([(train, "sft")], [(held_out, "sft")], out)
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    chat = write(tmp_path / "chat.jsonl", [{"messages": turns}])
    with pytest.raises(UserError, match=r"rows of messages, and those of .*train\.jsonl are prompt_completion"):
        decontaminate([(train, "sft"), (chat, "sft")], [(held_out, "sft")], out)
    assert not out.exists()


def test_a_recipe_that_check_warned_of(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", [answered("Well: " + STORY), answered(OTHER), *map(answered, "abc")])
    write(tmp_path / "unseen.jsonl", [{"prompt": "d", "completion": "e"}])
    write(tmp_path / "problems.jsonl", [{"prompt": STORY, "answer": "7"}])
    (tmp_path / "a.yaml").write_text(RECIPE)
    (warning,) = [line for line in check_recipe(tmp_path / "a.yaml") if "warning" in line]
    assert "1 of 1 problems rows overlap with 1 of 5 training rows" in warning
    assert warning.endswith(f"{tmp_path}/problems.jsonl:1 is 100% in {tmp_path}/train.jsonl:1") or "../" in warning
    said = check_recipe(tmp_path / "a.yaml")
    command = said[said.index(warning) + 1].partition(": posttrain ")[2].split()
    done = run(*command, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "clean.jsonl\n"), done.stderr
    assert "problems.jsonl: 1 of 1 rows overlap (100.0%)" in done.stderr
    assert len((tmp_path / "clean.jsonl").read_text().splitlines()) == 4
    (tmp_path / "a.yaml").write_text(RECIPE.replace("train.jsonl", "clean.jsonl"))
    assert not [line for line in check_recipe(tmp_path / "a.yaml") if "overlap" in line]


def test_the_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "rows.jsonl", [answered(STORY), answered("Hi")])
    write(tmp_path / "test.jsonl", [{"prompt": STORY, "answer": "7"}])
    (tmp_path / "a.yaml").write_text(RECIPE)
    clean = ["data", "decontaminate"]
    for arguments, message in (
        ([*clean, "rows.jsonl"], "--against: held-out rows are missing"),
        ([*clean, "a.yaml", "--against", "test.jsonl"], "--against: does not go with a recipe"),
        ([*clean, "rows.jsonl", "--against", "test.jsonl", "--fields", "answers"], "--fields: no 'answers'"),
        ([*clean, "rows.jsonl", "--against", "test.jsonl", "--threshold", "50"], "--threshold: 50 is not from 0 to 1"),
        (["data", "dedup", "rows.jsonl", "--keep", "last"], "--keep: no 'last'"),
    ):
        with pytest.raises(UserError, match=message):
            app([*arguments, "--out", "out.jsonl"], standalone_mode=False)
    app([*clean, "rows.jsonl", "--against", "test.jsonl", "--out", "out.jsonl", "--json"], standalone_mode=False)
    document = json.loads(capsys.readouterr().out)
    assert (document["read"], document["written"], document["worst"][0]["share"]) == (2, 1, 1.0)
    app(["data", "dedup", "rows.jsonl", "--out", "once.jsonl", "--json"], standalone_mode=False)
    assert json.loads(capsys.readouterr().out)["written"] == 2


@pytest.mark.slow
def test_in_several_processes(tmp_path: Path, shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same rows as in one, from a file of several chunks."""
    monkeypatch.setattr("posttrain.data.chunks.CHUNK_BYTES", 100_000)
    folder = shared_data / "math"
    with gzip.open(folder / "math_test5000.jsonl.gz") as file:
        lines = file.readlines()[:1500]
    (tmp_path / "train.jsonl").write_bytes(b"".join(lines))
    train, held_out = (Source(path=str(path)) for path in (tmp_path / "train.jsonl", folder / "math500.jsonl.gz"))
    counts = []
    for alone in (1000, 1):
        monkeypatch.setattr(module, "_CHUNKS_ALONE", alone)
        done = decontaminate([(train, "rlvr")], [(held_out, "rlvr")], tmp_path / f"{alone}.jsonl")
        counts.append((done.written, done.held_out))
    assert counts[0] == counts[1]
    assert (tmp_path / "1000.jsonl").read_bytes() == (tmp_path / "1.jsonl").read_bytes()
    assert 0 < counts[0][0] < 1500
