"""What is kept is found by its key alone, made once, and never found half made."""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path

import pytest

from posttrain.data import cache
from posttrain.data.cache import cached, file_digest
from posttrain.errors import UserError


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("POSTTRAIN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def note(into: Path, text: str = "made") -> None:
    (into / "note").write_text(text)


def test_what_was_made_is_found(tmp_path: Path) -> None:
    made: list[int] = []

    def make(into: Path) -> None:
        made.append(1)
        note(into)

    first, again = cached("kind", {"a": 1}, make), cached("kind", {"a": 1}, make)
    assert first == again and (again / "note").read_text() == "made" and made == [1]
    assert cached("kind", {"a": 2}, make) != first
    assert cached("other", {"a": 1}, make) != first
    assert len(made) == 3


def test_another_version_of_the_code_makes_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    first = cached("kind", {}, note)
    monkeypatch.setattr(cache, "_code_version", lambda: "another")
    assert cached("kind", {}, note) != first


def test_the_version_is_of_the_source_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "cache.py").write_text("one")
    monkeypatch.setattr(cache, "__file__", str(tmp_path / "cache.py"))
    versions = []
    for text in ("one", "one", "two"):
        (tmp_path / "cache.py").write_text(text)
        versions.append(cache._code_version.__wrapped__())
    assert versions[0] == versions[1] != versions[2]


def test_what_fails_leaves_nothing(own: Path) -> None:
    def broken(into: Path) -> None:
        note(into)
        raise UserError("no")

    with pytest.raises(UserError, match="no"):
        cached("kind", {}, broken)
    assert [path for path in own.rglob("*") if path.is_dir()] == [own / "kind"]
    assert (cached("kind", {}, note) / "note").exists()


def test_what_a_killed_process_left_is_made_anew() -> None:
    entry = cached("kind", {}, note)
    entry.rename(entry.with_suffix(".making"))
    (entry.with_suffix(".making") / "note").write_text("half")
    assert (cached("kind", {}, note) / "note").read_text() == "made"


def slowly(into: Path) -> None:
    with open(os.environ["TALLY"], "a") as file:
        file.write("made\n")
    time.sleep(0.5)
    note(into)


def ask(_: int) -> str:
    return str(cached("kind", {}, slowly))


def test_processes_that_ask_at_once_make_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TALLY", str(tmp_path / "tally"))
    with multiprocessing.get_context("fork").Pool(3) as pool:
        found = pool.map(ask, range(3), chunksize=1)
    assert len(set(found)) == 1
    assert (tmp_path / "tally").read_text() == "made\n"


def test_entries_long_unused_are_forgotten_when_another_is_made() -> None:
    old, used = cached("kind", {"n": 1}, note), cached("kind", {"n": 2}, note)
    long_ago = time.time() - (cache.UNUSED_DAYS + 1) * 24 * 3600
    for entry in (old, used):
        os.utime(entry, (long_ago, long_ago))
    cached("kind", {"n": 2}, note)
    cached("kind", {"n": 3}, note)
    assert not old.exists() and used.exists()


def test_a_cache_that_cannot_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("POSTTRAIN_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="set POSTTRAIN_CACHE to another directory"):
        cached("kind", {}, note)


def test_the_digest_is_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert file_digest(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_what_is_there_is_found_where_nothing_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    made = cached("kind", {}, note)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    for name in ("open", "mkdir"):
        monkeypatch.setattr(Path, name, refuse)
    monkeypatch.setattr(os, "utime", refuse)
    assert cached("kind", {}, note) == made


def test_an_entry_half_deleted_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    old = cached("kind", {"a": 1}, note)
    os.utime(old, (0, 0))

    def killed(path: Path, **_: object) -> None:
        for each in path.glob("*"):
            each.unlink()

    with monkeypatch.context() as patch:
        patch.setattr(cache.shutil, "rmtree", killed)
        cached("kind", {"a": 2}, note)
    assert (cached("kind", {"a": 1}, note) / "note").read_text() == "made"
