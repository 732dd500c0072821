"""The commands: the path alone on stdout, the report on stderr, errors that say what to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from posttrain.cli import _run as run

ROWS = [{"prompt": f"{i} + 1?", "completion": str(i + 1), "user": f"u{i // 4}"} for i in range(40)]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))


@pytest.mark.parametrize(
    ("command", "printed", "reported"),
    [
        ("convert rows.jsonl --to alpaca --out new.jsonl", "new.jsonl\n", "stage: sft, from the columns"),
        ("mix rows.jsonl=1 rows.jsonl=1 --rows 8 --out a/new.jsonl", "a/new.jsonl\n", "rows.jsonl           40"),
        (
            "split rows.jsonl --parts train=0.5,dev=0.5 --by user --suffix .parquet --out d",
            "d/train.parquet\nd/dev.parquet\n",
            "dev             20   50.0%            5",
        ),
        ("sample rows.jsonl -n 10 --per user --equal --out new.jsonl.gz", "new.jsonl.gz\n", "u9: 1"),
    ],
)
def test_the_path_on_stdout_and_the_report_on_stderr(
    command: str, printed: str, reported: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["data", *command.split()], debug=False) == 0
    said = capsys.readouterr()
    assert said.out == printed
    assert reported in said.err
    assert all(Path(path).exists() for path in printed.split())
    assert run(["data", *command.split()], debug=False) == 2
    said = capsys.readouterr()
    assert (said.out, "is there already" in said.err) == ("", True)
    assert run(["data", *command.split(), "--force", "--json"], debug=False) == 0
    assert isinstance(json.loads(capsys.readouterr().out), dict)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("convert rows.jsonl --stage stf --out x.jsonl", "--stage: no stage 'stf'. Did you mean 'sft'?"),
        ("convert rows.jsonl --to openai --stage kto --out x.jsonl", "--to: openai has no rows for kto"),
        (
            "convert rows.jsonl --keep output --columns output=user --to alpaca --out x.jsonl",
            "--keep: the column output",
        ),
        ("sample rows.jsonl -n 3 --head --longest --out x.jsonl", "--longest: --head and --longest are different"),
        ("sample rows.jsonl -n 3 --equal --out x.jsonl", "--equal: goes with --per"),
        ("split rows.jsonl --parts train=0.9 --out x", "--parts: the shares add up to 0.9, not to 1"),
        ("mix rows.jsonl=1 --out x.csv", "x.csv: not a kind of file that rows are written to"),
    ],
)
def test_what_cannot_be_done_is_said(command: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", *command.split()], debug=False) == 2
    printed = capsys.readouterr()
    assert (printed.out, said in printed.err) == ("", True), printed.err
    assert [path.name for path in Path().iterdir()] == ["rows.jsonl"]
