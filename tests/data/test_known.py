"""Numbers under digests: found as they were kept, whoever kept them and in however many files."""

from __future__ import annotations

import hashlib
import multiprocessing
from pathlib import Path

import numpy as np
import pytest

from posttrain.data import known
from posttrain.data.known import KEY, add, look_up


def keys(*names: str) -> np.ndarray:
    return np.array([hashlib.blake2b(name.encode(), digest_size=16).digest() for name in names], KEY)


def test_what_is_kept_is_found_in_the_shape_asked_for(tmp_path: Path) -> None:
    add(tmp_path, keys("a", "b", "c"), np.array([-1.5, -2.5, -3.5], np.float32))
    asked = keys("c", "none", "a", "a").reshape(2, 2)
    np.testing.assert_array_equal(look_up(tmp_path, asked), np.array([[-3.5, np.nan], [-1.5, -1.5]], np.float32))


def test_nothing_is_known_in_an_empty_folder(tmp_path: Path) -> None:
    assert np.isnan(look_up(tmp_path, keys("a"))).all()


def test_a_number_that_is_none_is_not_kept(tmp_path: Path) -> None:
    add(tmp_path, keys("a", "b"), np.array([np.nan, 1], np.float32))
    add(tmp_path, keys("a"), np.array([2], np.float32))
    assert look_up(tmp_path, keys("a", "b")).tolist() == [2, 1]


def test_digests_that_end_in_zeros_are_told_apart(tmp_path: Path) -> None:
    near = np.array([b"x" * 15 + b"\0", b"x" * 15 + b"\1", b"\0" * 16], KEY)
    add(tmp_path, near, np.arange(3, dtype=np.float32))
    assert look_up(tmp_path, near[::-1]).tolist() == [2, 1, 0]


def _add(task: tuple[Path, int]) -> None:
    folder, number = task
    add(folder, keys(*(f"{number} {row}" for row in range(50))), np.full(50, number, np.float32))


def test_processes_add_at_a_time(tmp_path: Path) -> None:
    with multiprocessing.get_context("fork").Pool(4) as pool:
        pool.map(_add, [(tmp_path, number) for number in (*range(8), *range(8))])
    for number in range(8):
        assert set(look_up(tmp_path, keys(*(f"{number} {row}" for row in range(50))))) == {number}
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".npy"] * 8


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        add(tmp_path / "gone", keys("a"), np.zeros(1, np.float32))


def test_a_damaged_file_is_not_believed(tmp_path: Path) -> None:
    add(tmp_path, keys("a"), np.array([1], np.float32))
    add(tmp_path, keys("b"), np.array([2], np.float32))
    flipped, cut = tmp_path.iterdir()
    content = bytearray(flipped.read_bytes())
    content[-1] ^= 1
    flipped.write_bytes(content)
    cut.write_bytes(cut.read_bytes()[:-9])
    assert np.isnan(look_up(tmp_path, keys("a", "b"))).all()


def test_who_asks_the_same_waits_for_the_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading
    import time

    started, order = threading.Event(), []

    def work() -> None:
        with known.turn(tmp_path):
            started.set()
            time.sleep(0.5)
            order.append("first")

    thread = threading.Thread(target=work)
    thread.start()
    assert started.wait(10)
    with known.turn(tmp_path):
        order.append("second")
    thread.join()
    assert order == ["first", "second"]
    monkeypatch.setattr(known, "LONGEST_WAIT_SECONDS", 0.2)
    with known.turn(tmp_path), known.turn(tmp_path):  # whoever has waited long enough goes on
        pass
    with known.turn(tmp_path / "nowhere"):
        pass
