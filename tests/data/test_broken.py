"""Thousands of broken files and rows: each is refused with its place, or skipped and counted; none is read wrongly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from posttrain.data.load import Loaded, load_data
from posttrain.data.records import Chat
from posttrain.errors import UserError
from posttrain.recipe.schema import Data, Source
from tests.data.broken import KINDS, Case, cases

SEED = 4


def load(case: Case, folder: Path, *, skip: bool = False) -> Loaded:
    path = folder / case.file
    path.write_bytes(case.content)
    source = Source(path=str(path), **case.settings)
    data = Data(dev=[source], bad_rows="skip" if skip else "error")  # held-out rows keep their order
    return load_data(data, case.stage, seed=0, parts=("dev",))


def check(case: Case, folder: Path, *, skipping: bool = True) -> None:
    """Raise AssertionError where loading does other than a person would."""
    if case.refused_at is None:
        assert [replace(record, place="") for record in load(case, folder).dev] == case.records
        return
    with pytest.raises(UserError) as caught:
        load(case, folder)
    assert str(caught.value.where).endswith(case.refused_at), caught.value
    message, _, fix = str(caught.value).partition("\n")
    assert len(message) + len(fix) < 2500 and (message + fix).isprintable(), message
    if not skipping or case.skips == -1:
        return
    if case.skips is None or not case.records:
        with pytest.raises(UserError):
            load(case, folder, skip=True)
        return
    loaded = load(case, folder, skip=True)
    assert [replace(record, place="") for record in loaded.dev] == case.records
    rows = "1 row" if case.skips == 1 else f"{case.skips} rows"
    assert any(f"skipped {rows} that cannot be read" in note for note in loaded.notes), loaded.notes


def check_all(kind: str, total: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = []
    for number, case in enumerate(cases(kind, total, SEED)):
        if number % 50 == 0:  # thousands of prepared sets in one folder take long to look through
            monkeypatch.setenv("POSTTRAIN_CACHE", str(folder / f"cache{number}"))
        try:
            check(case, folder, skipping=number % 3 == 0)
        except Exception as error:
            failed.append(f"{number}: {case.name} ({case.file}): {type(error).__name__}: {str(error)[:600]}")
    assert not failed, f"{len(failed)} of {number + 1}:\n" + "\n".join(failed[:40])


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_of_broken_files_and_rows(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_all(kind, 400, tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_five_thousand_broken_files_and_rows(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_all(kind, 5000, tmp_path, monkeypatch)


def some(kinds: tuple[str, ...], total: int, stages: tuple[str, ...] = ("sft", "dpo", "kto")) -> Iterator[Case]:
    """Cases of these stages and kinds, with a seed of their own."""
    for kind in kinds:
        for case in cases(kind, total, SEED + 1):
            if case.stage in stages:
                yield case


def test_a_stream_refuses_and_skips_the_same_rows(tmp_path: Path) -> None:
    """What is read before training is the first rows of each source, one after the other."""
    for case in some(("rows", "lines", "mixed", "separated", "archives", "good files", "good rows"), 250, ("sft",)):
        path = tmp_path / case.file
        path.write_bytes(case.content)
        source = Source(path=str(path), **case.settings)
        if case.refused_at is not None:
            with pytest.raises(UserError) as caught:
                load_data(Data(train=[source], streaming=True), "sft", seed=0)
            assert str(caught.value.where).endswith(case.refused_at), case.name
        if case.refused_at is None or (case.skips == 1 and case.records):
            stream = load_data(Data(train=[source], streaming=True, bad_rows="skip"), "sft", seed=0).stream
            assert stream is not None
            counts: Counter[str] = Counter()
            read = list(stream.read(stream.sources[0], counts))
            assert [replace(record, place="") for record in read] == case.records, case.name
            assert counts["cannot be read"] == (case.skips or 0), case.name


def test_convert_sets_the_same_rows_aside(tmp_path: Path) -> None:
    from posttrain.curation.convert import convert

    for number, case in enumerate(some(("rows", "lines", "mixed", "separated"), 80)):
        path = tmp_path / case.file
        path.write_bytes(case.content)
        source, out = Source(path=str(path), **case.settings), tmp_path / f"{number}.jsonl"
        if case.refused_at is not None:
            with pytest.raises(UserError):
                convert(source, case.stage, "canonical", out)
            assert not out.exists()
        if case.skips == 1 and case.records:
            done = convert(source, case.stage, "canonical", out, skip_bad=True, skip_unfit=True)
            assert (done.written, sum(done.rejected.values())) == (len(case.records), 1), case.name
            again = load(Case("", case.stage, "again.jsonl", out.read_bytes(), []), tmp_path)
            assert [replace(record, place="") for record in again.dev] == case.records, case.name


def write_recipe(folder: Path, stage: str, path: str) -> Path:
    recipe = folder / "recipe.yaml"
    source = f"[{{path: {json.dumps(path)}}}]"
    recipe.write_text(f"stage: {stage}\nout: out\nmodel: {{path: 'builtin:tiny'}}\ndata: {{train: {source}}}\n")
    return recipe


@pytest.mark.slow
def test_the_commands_say_one_message_and_exit_with_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from posttrain.cli import _run

    monkeypatch.chdir(tmp_path)
    kinds = ("rows", "lines", "separated", "json", "archives", "parquet")
    for number, case in enumerate(case for case in some(kinds, 30) if case.refused_at):
        Path(case.file).write_bytes(case.content)
        show = ["data", "show", case.file, "--stage", case.stage]
        convert = ["data", "convert", case.file, "--stage", case.stage, "--to", "canonical", "--out", "new.jsonl"]
        stats = ["data", "stats", case.file, "--stage", case.stage]
        commands = [["check", str(write_recipe(tmp_path, case.stage, case.file))], show, stats, convert]
        for command in commands if number % 4 == 0 else [commands[number % 4]]:
            assert _run(command, False) == 2, (command, case.name)
            said = capsys.readouterr()
            assert "error: " in said.err and "Traceback" not in said.err, (command, case.name)
            place = case.refused_at if case.refused_at != "path" else ""
            assert place in said.err, (command, case.name, said.err)


@pytest.mark.slow
def test_the_program_itself_prints_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(b'{"prompt": "q", "completion": "a"}\n{"prompt": "\\ud800"}\n')
    recipe = write_recipe(tmp_path, "sft", "rows.jsonl")
    command = [sys.executable, "-m", "posttrain", "check", str(recipe)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "rows.jsonl:2: not valid JSON: an escape \\ud800-\\udfff without its other half" in done.stderr


def refused(path: Path | str) -> str:
    with pytest.raises(UserError) as caught:
        load_data(
            Data(dev=[Source(path=str(path))]), "sft", seed=0, parts=("dev",), place=lambda key: f"sft.yaml:7 {key}"
        )
    assert caught.value.where == "sft.yaml:7 data.dev[0].path"
    return caught.value.message


@pytest.mark.timeout(30)
def test_paths_that_are_no_files_with_rows(tmp_path: Path) -> None:
    (tmp_path / "folder.jsonl").mkdir()
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "loop.jsonl").symlink_to(tmp_path / "loop.jsonl")
    (tmp_path / "nowhere.jsonl").symlink_to(tmp_path / "gone.jsonl")
    (tmp_path / "a.txt").write_text("{}")
    said = {
        "folder.jsonl": "is a directory",
        "pipe.jsonl": "is no regular file",
        "loop.jsonl": "is a link to no file",
        "nowhere.jsonl": "is a link to no file",
        "a.txt": "not a kind of file that holds rows",
        "missing.jsonl": "no file",
        "*.csv": "no file matches",
        "x" * 300 + ".jsonl": "no file",
        "nul\0.jsonl": "no file has a name like",
        "a.txt/rows.jsonl": "does not exist",
    }
    for name, message in said.items():
        assert message in refused(tmp_path / name), name
    assert "is no regular file" in refused("/dev/null")
    with pytest.raises(UserError, match="has no rows"):
        (tmp_path / "b.jsonl").write_text("")
        load_data(Data(dev=[Source(path=str(tmp_path / "[ab].jsonl"))]), "sft", seed=0, parts=("dev",))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "q", "completion": "a"}\n')
    path.chmod(0)
    assert "cannot read" in refused(path)


@pytest.mark.slow
def test_fields_of_a_hundred_megabytes(tmp_path: Path) -> None:
    """Read whole where they are text; where they are wrong, the message stays short and soon said."""
    huge = "x" * 100_000_000
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"prompt": huge, "completion": "a"}) + "\n")
    record = load_data(Data(dev=[Source(path=str(path))]), "sft", seed=0, parts=("dev",)).dev[0]
    assert isinstance(record, Chat) and record.messages[0]["content"] == huge
    chat = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    for row in (
        {"messages": [{"role": huge, "content": "q"}]},
        {"messages": [*chat, {"role": "assistant", "content": "a", "weight": huge}]},
        {"messages": [*chat, {"role": "assistant", "content": "a", huge: 1, "weight": 3}]},
        {huge: 1, "text": 1},
        {"messages": chat, "tools": "[" + huge},
        {"messages": [{"role": "user", "content": [huge, 3]}]},
    ):
        path.write_text(json.dumps(row) + "\n")
        with pytest.raises(UserError) as caught:
            load_data(Data(dev=[Source(path=str(path))]), "sft", seed=0, parts=("dev",))
        assert len(str(caught.value)) < 2500 and str(caught.value.where).endswith("rows.jsonl:1")
