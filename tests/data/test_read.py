"""Files of every kind to rows with places, and what is wrong with a file said at its place."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from posttrain.data.read import read_rows
from posttrain.errors import UserError
from posttrain.recipe.paths import is_local

ROWS = [{"prompt": "2+2", "completion": "4"}, {"prompt": "é ☃\n", "completion": 'x,"y"\tz'}]


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def error_of(path: Path | str) -> UserError:
    with pytest.raises(UserError) as caught:
        list(read_rows(str(path), where="sft.yaml:7 data.train[0].path"))
    return caught.value


def csv_text(separator: str) -> str:
    return f'prompt{separator}completion\n2+2{separator}4\n"é ☃\n"{separator}"x,""y""\tz"\n'


TEXTS = {
    "rows.jsonl": "\n".join(json.dumps(row) for row in ROWS),
    "rows.json": json.dumps(ROWS),
    "data.json": json.dumps({"data": ROWS}, indent=1),
    "lines.json": "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS),
    "rows.csv": csv_text(","),
    "rows.tsv": csv_text("\t"),
}


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_text_files_plain_and_gzipped(tmp_path: Path, name: str, start: str) -> None:
    plain = write(tmp_path / name, start + TEXTS[name])
    zipped = write(tmp_path / f"{name}.gz", gzip.compress((start + TEXTS[name]).encode()))
    for path in (plain, zipped):
        assert [row for row, _ in read_rows(str(path))] == ROWS


def test_parquet_drops_the_nulls_that_arrow_fills_in(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    rows = [{"m": [{"role": "user", "content": "a"}]}, {"m": [{"role": "assistant", "name": "b"}]}]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "rows.parquet")
    read = list(read_rows(str(tmp_path / "rows.parquet")))
    assert [row for row, _ in read] == rows
    assert read[1][1].endswith("rows.parquet row 2")


def test_places_count_lines_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.jsonl", '{"a": 1}\n\n\r\n{"a": 2}\n')
    write(tmp_path / "a.csv", 'a,b\n1,"two\nlines"\n\n3,4\n')
    assert [place for _, place in read_rows("a.jsonl")] == ["a.jsonl:1", "a.jsonl:4"]
    assert [place for _, place in read_rows("a.csv")] == ["a.csv:2", "a.csv:5"]


def test_a_glob_reads_its_files_in_order(tmp_path: Path) -> None:
    for name in ("b", "a"):
        write(tmp_path / f"{name}.jsonl", json.dumps({"name": name}))
    assert [row["name"] for row, _ in read_rows(str(tmp_path / "*.jsonl"))] == ["a", "b"]
    assert "no file matches" in str(error_of(tmp_path / "*.csv"))


def test_malformed_row_137(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [json.dumps({"prompt": "p", "completion": "c"})] * 200
    lines[136] = '{"prompt": "p", "completion: 4}'
    write(tmp_path / "rows.jsonl", "\n".join(lines))
    error = error_of("rows.jsonl")
    assert error.where == "rows.jsonl:137"
    assert error.message == "not valid JSON: Unterminated string starting at column 17"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": 1, "a": 2}', "'a' appears twice"),
        ('{"a": {"b": NaN}}', "NaN is not a JSON number"),
        ('{"a": -Infinity}', "Infinity is not a JSON number"),
        ('{"a": "\\ud83d"}', "without its other half"),
        ("[1, 2]", "must be an object with named columns, this one is a list"),
        ("3", "this one is a number"),
        ("null", "this one is null"),
        ("[" * 100_000, "not valid JSON"),
        ('{"a": ' + "1" * 5000 + "}", "not valid JSON"),
        ('{"a": 1', "not valid JSON"),
        (b'{"a": "\xff"}', "not UTF-8 text: byte 0xff at column 8"),
        ('{"a": 1}'.encode("utf-16"), "not UTF-8"),
    ],
)
def test_broken_json_rows(tmp_path: Path, text: str | bytes, said: str) -> None:
    error = error_of(write(tmp_path / "rows.jsonl", text))
    assert said in error.message and error.where and error.where.endswith("rows.jsonl:1")


def test_a_whole_surrogate_pair_is_text(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", '{"a": "\\ud83d\\ude00"}')
    assert next(read_rows(str(path)))[0] == {"a": "😀"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n1\n", "1 fields where the header has 2"),
        ("a,b\n1,2,3\n", "3 fields where the header has 2"),
        ("a,a\n1,2\n", "'a' appears twice"),
        ("a,\n1,2\n", "a column has no name"),
        ('a,b\n"1,2\n', "not valid CSV"),
    ],
)
def test_broken_csv(tmp_path: Path, text: str, said: str) -> None:
    assert said in error_of(write(tmp_path / "rows.csv", text)).message


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json", "rows.csv", "rows.jsonl.gz"])
def test_an_empty_file_is_an_error(tmp_path: Path, name: str) -> None:
    blank = "a,b\n" if name.endswith("csv") else "\n\n"
    path = write(tmp_path / name, gzip.compress(blank.encode()) if name.endswith("gz") else blank)
    error = error_of(path)
    assert "has no rows" in error.message and error.where == "sft.yaml:7 data.train[0].path"


def test_files_that_are_not_what_they_seem(tmp_path: Path) -> None:
    assert "cannot read" in str(error_of(write(tmp_path / "a.jsonl.gz", "no gzip")))
    assert "cannot read" in str(error_of(write(tmp_path / "b.jsonl.gz", gzip.compress(b'{"a": 1}\n' * 99)[:30])))
    assert "not a valid Parquet" in str(error_of(write(tmp_path / "a.parquet", "no parquet")))
    assert "Known: .jsonl" in str(error_of(write(tmp_path / "a.txt", "text")))
    assert "is a directory" in str(error_of(tmp_path))


def test_a_missing_file_names_the_nearest(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", "{}")
    error = error_of(tmp_path / "trian.jsonl")
    assert "Did you mean 'train.jsonl'?" in error.message
    assert error.where == "sft.yaml:7 data.train[0].path"
    assert "the folder" in str(error_of(tmp_path / "nowhere" / "train.jsonl"))


def test_what_is_a_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    assert not is_local("openai/gsm8k", tmp_path)
    for file in ("data/rows", "data/rows.jsonl", "rows.jsonl.gz", "./a/b", "/a/b", "other/rows.csv", "rows"):
        assert is_local(file, tmp_path), file


def test_a_hub_data_set_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    error = error_of("nobody/nothing")
    assert "load_dataset('nobody/nothing', None, split='train'" in error.message
    assert error.where == "sft.yaml:7 data.train[0].path"
