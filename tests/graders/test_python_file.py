"""A trusted grader file that crashes, hangs, leaks or prints takes nothing with it, and its verdicts stay right."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from posttrain.errors import UserError
from posttrain.graders import Grader, build
from posttrain.graders.python import PythonSettings
from posttrain.graders.python_file import GraderFile, grader_file

SOURCE = """
import os, signal, sys, time

kept, starts = [], open("STARTS", "a").write("x")

def leaks(completion, problem):
    kept.append(b"x" * MEGABYTES * 1_000_000)
    return float(completion == problem["answer"])

def grows(completion, problem):
    for _ in range(1000):
        kept.append(b"x" * 20_000_000)
        time.sleep(0.02)

def dies(completion, problem):
    if completion == "die" or (completion == "die once" and len(open("STARTS").read()) == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    return 1.0

def exits(completion, problem):
    sys.exit(3)

def hangs(completion, problem):
    while completion == "hang":
        pass
    return 1.0

def prints(completion, problem):
    print("a line on stdout", input() if False else sys.stdin.read())
    os.write(1, b"bytes on stdout")
    return 1.0
"""


def grader(folder: Path, function: str, megabytes: int = 1, **settings: object) -> Grader:
    file = folder / "fragile.py"
    starts = str(folder / "starts")
    file.write_text(SOURCE.replace("STARTS", starts).replace("MEGABYTES", str(megabytes)))
    return build(
        PythonSettings.model_validate({"type": "python", "path": f"fragile.py:{function}", **settings}), folder
    )


def starts(folder: Path) -> int:
    return len((folder / "starts").read_text())


def test_a_leak_is_stopped_between_two_grades_and_the_verdicts_stay_right(tmp_path: Path) -> None:
    grader(tmp_path, "leaks", megabytes=100)
    leaking, largest = GraderFile(tmp_path / "fragile.py", "leaks", 1.0), 0
    (tmp_path / "starts").unlink()
    leaking.start()
    grades = []
    for i in range(16):
        grades.append(leaking.grade(str(i % 2), {"answer": "1"}, 60.0, 1_000_000_000))
        largest = max(largest, leaking._process.resident_bytes() if leaking._process else 0)
    leaking.close()
    assert [grade.score for grade in grades] == [0.0, 1.0] * 8
    assert not any(grade.error for grade in grades)
    # At half of 1 GB the process is replaced: after five calls of 100 MB, after ten, after fifteen.
    assert starts(tmp_path) == 4
    assert 400e6 < largest < 600e6


def test_growth_within_a_grade_ends_it(tmp_path: Path) -> None:
    grade = grader(tmp_path, "grows", memory_gb=0.3).grade("", {})
    assert grade.score is None and grade.error.startswith("python_grader_runtime_error: took more than 0.3 GB")


def test_a_crash_is_tried_once_more_and_is_then_an_error(tmp_path: Path) -> None:
    dying = grader(tmp_path, "dies")
    once, dead, alive = (dying.grade(text, {}) for text in ("die once", "die", "live"))
    assert (once.score, alive.score, dead.score) == (1.0, 1.0, None)
    assert "python_grader_server_error: its process was killed by SIGKILL, twice" in dead.error
    assert starts(tmp_path) == 4
    assert "SystemExit: 3" in grader(tmp_path, "exits").grade("", {}).error


def test_a_hang_ends_in_time(tmp_path: Path) -> None:
    hanging = grader(tmp_path, "hangs", timeout_seconds=0.5)
    began = time.monotonic()
    error = hanging.grade("hang", {}).error
    assert time.monotonic() - began < 5
    assert error.startswith("python_grader_runtime_error: took longer than 0.5 s")
    assert hanging.grade("", {}).score == 1.0


def test_what_it_prints_is_no_reply(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    printing = grader(tmp_path, "prints")
    assert [printing.grade("é\u2028\ud800", {"n": 1}).score for _ in range(2)] == [1.0, 1.0]
    out, err = capfd.readouterr()
    assert out == "" and "bytes on stdout" in err


def test_a_file_that_changed_is_not_run_in_the_middle(tmp_path: Path) -> None:
    file = tmp_path / "g.py"
    file.write_text("import os\ndef g(c, p):\n    return os.abort() if c else 1.0\n")
    running = GraderFile(file, "g", 1.0)
    running.start()
    file.write_text("def g(c, p):\n    return 0.5\n")
    assert running.grade("", {}, 5, 1 << 30).score == 1.0
    assert "has changed since it was first run" in running.grade("crash", {}, 5, 1 << 30).error


def test_a_file_that_cannot_start(tmp_path: Path) -> None:
    file = tmp_path / "g.py"
    file.write_text("import os\nos._exit(9)\n")
    with pytest.raises(UserError, match=r"its process ended with status 9"):
        grader_file(file, "g", 1.0, 0).start()
