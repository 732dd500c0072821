"""`data convert`: rows in another shape, bad and unfit ones set aside with the reason, on demand alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from posttrain.curation.convert import convert, report
from posttrain.data.read import read_rows
from posttrain.errors import UserError
from posttrain.recipe.schema import Source

GOOD = {"conversations": [{"from": "human", "value": "2 + 2?"}, {"from": "gpt", "value": "4"}], "id": 7, "source": "a"}
LONG = {"conversations": [*GOOD["conversations"], {"from": "human", "value": "Sure?"}]}  # type: ignore[misc]


def write(path: Path, *lines: Any) -> Source:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return Source(path=str(path))


def rows_in(path: Path) -> list[dict[str, Any]]:
    return [row for row, _ in read_rows(str(path))]


def test_rows_are_converted_and_columns_kept_on_demand(tmp_path: Path) -> None:
    source, out = write(tmp_path / "in.jsonl", GOOD, GOOD), tmp_path / "out.parquet"
    done = convert(source, "sft", "alpaca", out, keep=["id"])
    assert rows_in(out) == 2 * [{"instruction": "2 + 2?", "input": "", "output": "4", "id": 7}]
    assert (done.read, done.written, done.rejected, done.rejected_path) == (2, 2, {}, None)
    assert done.left_behind == {"source": 2}
    assert report(done) == [
        "wrote 2 of 2 rows: sharegpt (sft) to alpaca",
        "columns left behind: source; --keep COLUMN carries one over",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.parquet"]


def test_the_first_bad_row_is_an_error(tmp_path: Path) -> None:
    source, out = write(tmp_path / "in.jsonl", GOOD, "{", GOOD), tmp_path / "out.jsonl"
    with pytest.raises(UserError, match=r"in\.jsonl:2: not valid JSON"):
        convert(source, "sft", "openai", out)
    source = write(tmp_path / "in.jsonl", GOOD, LONG)
    with pytest.raises(UserError, match=r"in\.jsonl:2: alpaca cannot say: turns other .*\n.*--skip-unfit"):
        convert(source, "sft", "alpaca", out)
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_bad_and_unfit_rows_are_set_aside_with_their_reasons(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", "{", GOOD, {"conversations": [{"from": "martian", "value": "hi"}]}, LONG)
    out = tmp_path / "out.jsonl.gz"
    done = convert(source, "sft", "alpaca", out, skip_bad=True, skip_unfit=True)
    assert (done.read, done.written) == (4, 1)
    assert list(done.rejected.values()) == [1, 1, 1]
    aside = rows_in(tmp_path / "out.rejected.jsonl")
    assert [row["place"].rpartition(":")[2] for row in aside] == ["1", "3", "4"]
    assert aside[0]["line"] == "{"
    assert [row.get("row") for row in aside[1:]] == [{"conversations": [{"from": "martian", "value": "hi"}]}, LONG]
    assert aside[1]["reason"].startswith("cannot be read: conversations[0]: unknown role 'martian'")
    assert aside[2]["reason"] == "alpaca cannot say: turns other than a question and its answer, in turn"
    assert len(rows_in(out)) == 1


def test_rows_that_all_fail_write_no_file(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", LONG, LONG)
    with pytest.raises(UserError, match=r"none of the 2 rows can be written: 2 rows: alpaca cannot say"):
        convert(source, "sft", "alpaca", tmp_path / "out.jsonl", skip_unfit=True)
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_columns_are_renamed_first(tmp_path: Path) -> None:
    write(tmp_path / "in.jsonl", {"q": "2 + 2?", "a": "4"})
    source = Source(path=str(tmp_path / "in.jsonl"), columns={"prompt": "q", "completion": "a"})
    convert(source, "sft", "canonical", tmp_path / "out.jsonl")
    assert rows_in(tmp_path / "out.jsonl") == [
        {"messages": [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}]}
    ]


def test_chunks_of_several_processes_stay_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("posttrain.data.chunks.CHUNK_BYTES", 2000)
    write(tmp_path / "in.jsonl", *({"prompt": f"{number}?", "completion": str(number)} for number in range(600)))
    done = convert(Source(path=str(tmp_path / "in.jsonl")), "sft", "alpaca", tmp_path / "out.jsonl")
    assert done.written == 600
    assert [row["output"] for row in rows_in(tmp_path / "out.jsonl")] == [str(number) for number in range(600)]


def test_alpaca_history_is_read(tmp_path: Path) -> None:
    row = {"instruction": "Sure?", "output": "Yes.", "history": [["2 + 2?", "4"]]}
    convert(write(tmp_path / "in.jsonl", row), "sft", "canonical", tmp_path / "out.jsonl")
    assert [turn["content"] for turn in rows_in(tmp_path / "out.jsonl")[0]["messages"]] == [
        "2 + 2?", "4", "Sure?", "Yes."
    ]  # fmt: skip
    with pytest.raises(UserError, match=r"bad\.jsonl:1: history must be a list"):
        convert(write(tmp_path / "bad.jsonl", row | {"history": ["a"]}), "sft", "canonical", tmp_path / "no.jsonl")
