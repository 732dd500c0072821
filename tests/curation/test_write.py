"""Files of rows: whole or not at all, and read back as what was written."""

from __future__ import annotations

import gzip
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from posttrain.curation.feedback.collect import Options, collect
from posttrain.curation.write import encode, new_file
from posttrain.data.read import read_rows
from posttrain.errors import UserError

ROWS: list[dict[str, Any]] = [
    {"messages": [{"role": "user", "content": "é\u2028"}], "id": 1, "score": 0.5, "label": True, "note": "[not json"},
    {"messages": [{"role": "assistant", "tool_calls": [{"arguments": {"b": None}}]}], "id": 2, "target": "7"},
    {"messages": [], "id": 2**70, "target": 7, "score": 1.0},
]


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz", "rows.parquet"])
def test_rows_are_read_back_as_they_were(tmp_path: Path, name: str) -> None:
    path = tmp_path / "new" / name
    with new_file(path) as file:
        for row in ROWS:
            file.write(row)
    assert file.rows == 3
    assert [row for row, _ in read_rows(str(path))] == ROWS
    assert [entry.name for entry in path.parent.iterdir()] == [name]


def test_parquet_keeps_plain_columns_plain(tmp_path: Path) -> None:
    from pyarrow import parquet

    with new_file(tmp_path / "rows.parquet") as file:
        for number in range(2500):
            file.write({"id": number, "text": "a", "tags": [number]} | ({"late": 1.5} if number > 2400 else {}))
    table = parquet.read_table(tmp_path / "rows.parquet")
    assert {name: str(table.schema.field(name).type) for name in table.column_names} == {
        "id": "int64",
        "text": "large_string",
        "tags": "large_string",
        "late": "double",
    }
    assert table.column("tags")[2].as_py() == "[2]"
    assert table.num_rows == 2500
    assert table.column("late").null_count == 2401


def test_the_same_rows_are_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.jsonl.gz", "b.jsonl.gz"):
        with new_file(tmp_path / name) as file:
            file.write({"a": 1})
    assert (tmp_path / "a.jsonl.gz").read_bytes() == (tmp_path / "b.jsonl.gz").read_bytes()
    assert gzip.decompress((tmp_path / "a.jsonl.gz").read_bytes()) == b'{"a": 1}\n'


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.parquet"])
def test_an_error_leaves_no_file_and_the_old_one_alone(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), new_file(path, force=True) as file:
        file.write({"a": 1})
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


def test_an_existing_file_needs_force(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("old")
    with pytest.raises(UserError, match="is there already\n  --force writes over it"), new_file(path):
        pass
    with new_file(path, force=True) as file:
        file.write({"a": 1})
    assert path.read_text() == '{"a": 1}\n'


@pytest.mark.parametrize(("name", "said"), [("rows.csv", "not a kind of file"), ("folder.jsonl", "is a directory")])
def test_a_path_that_cannot_be_written_is_refused(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(UserError, match=said), new_file(tmp_path / name, force=True):
        pass


def test_values_that_json_does_not_have() -> None:
    assert (
        encode({"at": datetime(2026, 1, 2, 3, 4), "x": float("nan")}) == b'{"at": "2026-01-02T03:04:00", "x": null}\n'
    )
    with pytest.raises(UserError, match=r"rows.parquet row 7: the row holds what JSON does not have: .* type bytes"):
        encode({"a": b"x"}, "rows.parquet row 7")
    with pytest.raises(UserError, match="surrogates"):
        encode({"a": "\ud800"})


def test_a_suffix_in_capitals_is_that_suffix(tmp_path: Path) -> None:
    with new_file(tmp_path / "ROWS.PARQUET") as file:
        file.write({"a": 1})
    assert [row for row, _ in read_rows(str(tmp_path / "ROWS.PARQUET"))] == [{"a": 1}]


def test_a_folder_that_is_a_file_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    log = tmp_path / "log.jsonl"
    log.write_text('{"prompt": "p", "completion": "c", "label": true}\n')
    with pytest.raises(UserError, match="cannot be written"), new_file(tmp_path / "file" / "rows.jsonl"):
        pass
    with pytest.raises(UserError, match="cannot be written"):
        collect([str(log)], tmp_path / "file" / "rows.jsonl", Options())
