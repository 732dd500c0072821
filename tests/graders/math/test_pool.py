from __future__ import annotations

import os
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytest.importorskip("math_verify")

from posttrain.graders import build
from posttrain.graders.math import pool
from posttrain.graders.math.grader import MathSettings

GRADER = build(MathSettings(type="math"), Path())
HASTY = build(MathSettings(type="math", timeout_seconds=1.0), Path())
ENDLESS = ("\\int_0^1 3x^2\\,dx", "9^{9^{9^9}}")
"""Only math-verify reads this gold, and it never ends on this answer."""

HOSTILE = [
    "9^{9^{9^9}}",
    "(10^{10^{10}})!",
    "((((99999!)!)!)!)!",
    "9" * 10**6,
    "(" * 5000,
    "{" * 400 + "1" + "}" * 400,
    "\\frac{1}{" * 100 + "1" + "}" * 100,
    "\\frac{" * 300,
    "2^{" * 200 + "2" + "}" * 200,
    "\\left(" * 90 + "1" + "\\right)" * 90,
    "1" + "!" * 300,
    "1," * 400 + "1",
    "\\text{" * 150,
    "\\begin{pmatrix}" * 50,
    "\\pm" * 100 + "1",
    "1" + " 000" * 240,
    "e^{e^{e^{e^{e^{e}}}}}",
    "\\sin(10^{10^{9}})",
    "7^{-7^{7^{7}}}",
    "0.\\overline{" + "9" * 390 + "}",
    "1e999999999",
    "(((2^{99999})^{99999})^{99999})^{99999}",
    "x!" * 300,
    "\\sinh(" * 30 + "9" + ")" * 30,
    "-" * 900 + "1",
]


@pytest.mark.slow
def test_an_answer_that_takes_for_ever_is_wrong_and_the_next_one_is_graded() -> None:
    gold, answer = ENDLESS
    start = time.monotonic()
    grade = HASTY.grade(f"\\boxed{{{answer}}}", {"answer": gold})
    assert (grade.score, grade.note, grade.error) == (0.0, "timed out", "")
    assert HASTY.grade("\\boxed{1}", {"answer": gold}).passed
    assert time.monotonic() - start < 60


def test_a_process_that_died_is_replaced_unseen() -> None:
    def passes(number: int) -> bool:
        return GRADER.grade(f"\\boxed{{\\sqrt{{{number**2 * 2}}}}}", {"answer": f"{number}\\sqrt2"}).passed

    assert passes(71)
    worker = pool._slots.queue[-1]
    assert worker is not None
    os.killpg(worker._process.pid, signal.SIGKILL)
    worker._process.wait()
    assert passes(72) and passes(73)


def test_a_process_that_dies_twice_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    pool.close()
    monkeypatch.setattr(pool, "SCRIPT", Path(__file__).with_name("no_such_file.py"))
    grade = GRADER.grade("\\boxed{\\sqrt{338}}", {"answer": "13\\sqrt2"})
    assert grade.score is None and grade.error.startswith("other_error: the process")
    monkeypatch.undo()
    assert GRADER.grade("\\boxed{\\sqrt{338}}", {"answer": "13\\sqrt2"}).passed


def test_a_worn_out_process_is_replaced_between_requests(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = tmp_path / "worker.py"
    text = pool.SCRIPT.read_text(encoding="utf-8")
    script.write_text(text.replace("REQUESTS_PER_PROCESS = 5000", "REQUESTS_PER_PROCESS = 2"), encoding="utf-8")
    pool.close()
    monkeypatch.setattr(pool, "SCRIPT", script)
    assert [pool.compare(f"{n}\\pi", f"\\pi\\cdot{n}", 5.0) for n in range(200, 207)] == ["equal"] * 7
    pool.close()
    assert list(pool._slots.queue) == [None] * pool.WORKERS


def test_a_forked_child_grades_with_processes_of_its_own() -> None:
    assert GRADER.grade("\\boxed{\\sqrt{800}}", {"answer": "20\\sqrt2"}).passed
    child = os.fork()
    if child == 0:
        right = GRADER.grade("\\boxed{\\sqrt{882}}", {"answer": "21\\sqrt2"}).passed
        wrong = GRADER.grade("\\boxed{\\sqrt{881}}", {"answer": "21\\sqrt2"}).passed
        pool.close()
        os._exit(0 if right and not wrong else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert GRADER.grade("\\boxed{\\sqrt{968}}", {"answer": "22\\sqrt2"}).passed


@pytest.mark.parametrize("hostile", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_answer_is_wrong_at_once(hostile: str) -> None:
    for gold in ("3", "\\sqrt{3}", "x^2+1"):
        start = time.monotonic()
        grade = GRADER.grade(f"\\boxed{{{hostile}}}", {"answer": gold})
        assert (grade.score, grade.error) == (0.0, "")
        assert time.monotonic() - start < 30


@pytest.mark.slow
def test_threads_get_the_right_verdicts_with_hostile_answers_among_them() -> None:
    numbers = list(range(1000, 3000))
    random.Random(0).shuffle(numbers)
    completions = [f"\\boxed{{\\sqrt{{{2 * (n + n % 2) ** 2}}}}}" for n in numbers]
    for place in range(0, 2000, 100):
        completions[place] = f"\\boxed{{{HOSTILE[place // 100]}}}"
    golds = [f"{n}\\sqrt2" for n in numbers]
    for place in (50, 1050):
        golds[place], completions[place] = ENDLESS[0], f"\\boxed{{{ENDLESS[1]}}} " + " " * place

    def graded(gold: str, completion: str) -> tuple[bool, float]:
        start = time.monotonic()
        grade = HASTY.grade(completion, {"answer": gold})
        assert not grade.error
        return grade.passed, time.monotonic() - start

    start = time.monotonic()
    with ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(graded, golds, completions))
    assert time.monotonic() - start < 120
    expected = [n % 2 == 0 and place % 100 != 0 and place not in (50, 1050) for place, n in enumerate(numbers)]
    assert [passed for passed, _ in outcomes] == expected
    # no thread waited for all of the others
    slowest = sorted(seconds for _, seconds in outcomes)
    assert slowest[1900] < 2 and slowest[-1] < 30
