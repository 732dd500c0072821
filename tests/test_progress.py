from __future__ import annotations

import pytest

from posttrain import progress as module
from posttrain.progress import line, progress


def test_the_line() -> None:
    assert line("grading", 120, 1320, 4.0) == "grading: 120 of 1,320, about 40 s left"


def test_short_work_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    with progress("grading", 3) as advance:
        for _ in range(3):
            advance()
    assert capfd.readouterr() == ("", "")


def test_long_work_says_how_far_it_is(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0, 5.0, 10.0, 15.0, 20.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    with progress("grading", 10) as advance:
        for _ in range(5):
            advance()
    out, err = capfd.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "grading: 3 of 10, about 23 s left",  # after 10 s
        "grading: 5 of 10, about 20 s left",  # after 20 s
    ]
