"""Thousands of broken files and rows: each is refused with its place, or skipped and counted; none is read wrongly."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from posttrain.data.load import Loaded, load_data
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
