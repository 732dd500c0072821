from __future__ import annotations

import gzip
import json
import os
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytest.importorskip("math_verify")

from posttrain.graders import BadProblem, build, check_problem, check_problems, grade_all, math_pool
from posttrain.graders.math import MathSettings

GRADER = build(MathSettings(type="math"), Path())
HASTY = build(MathSettings(type="math", timeout_seconds=1.5), Path())


@pytest.mark.parametrize(
    ("completion", "gold", "passed"),
    [
        ("\\boxed{\\frac{1}{2}}", "0.5", True),
        ("So $x = \\frac12$.", "\\frac{1}{2}", True),
        ("\\boxed{(x+1)^2}", "x^2 + 2x + 1", True),
        ("\\boxed{6 - 5i}", "6 - 5i", True),
        ("\\boxed{5}", "6 - 5i", False),
        ("\\boxed{\\$18}", 18, True),
        ("She has 18 dollars", "18", True),
        ("The answer is 18 dollars.", "$18$", True),
        ("Therefore she has 3 hens and 18 eggs.", "18", True),
        ("Answer: 3x+2", "3x+2", True),
        ("Answer: 3x+2", "3", False),
        ("The final answer is $\\frac{1}{2}$. I hope it is correct.", "0.5", True),
        ("The answer is the sum of 3 numbers.\n\\boxed{12}", "12", True),
        ("The final answer is:\n\\[\n\\boxed{12}\n\\]", "12", True),
        ("The final answer is:\n\n\\[\n12\n\\]", "12", True),
        ("\\boxed{12}", "It is $\\boxed{12}$.", True),
        ("\\boxed{12}", "3 * 4 = 12\n#### 12", True),
        ("\\boxed{\\text{Evelyn}}", "\\text{Evelyn}", True),
        ("\\boxed{\\text{Angela}}", "\\text{Evelyn}", False),
        # several answers must all be right
        ("\\boxed{3}\nThe final answer is $5$. I hope it is correct.", "5", False),
        ("\\boxed{1} or \\boxed{2}", "1", False),
        ("\\boxed{0.5}, that is \\boxed{\\frac12}", "0.5", True),
        ("<think>\\boxed{3}</think>\\boxed{5}", "5", True),
        ("<think>\\boxed{5}", "5", False),
        ("", "5", False),
        ("\\boxed{}", "5", False),
        ("\\boxed{" * 300 + "}" * 300, "5", False),
        ("\\boxed{" + "9" * 5000 + "}", "5", False),
        ("\\boxed{1" + "\\boxed{" * 20_000, "5", False),
        ("$" * 100_000, "5", False),
        ("\0" * 100_000, "5", False),
    ],
)
def test_math(completion: str, gold: object, passed: bool) -> None:
    grade = GRADER.grade(completion, {"answer": gold})
    assert (grade.passed, grade.error) == (passed, "")


def test_a_gold_that_cannot_be_read_is_refused() -> None:
    for gold in ("", "$", "x" * 2000):
        with pytest.raises(BadProblem):
            check_problem([GRADER], {"answer": gold})
    assert check_problems([GRADER], [{"answer": "2"}, {"solution": "2"}])[1].startswith("the problem has no field")


def test_an_answer_that_takes_for_ever_is_wrong_and_the_next_one_is_graded() -> None:
    start = time.monotonic()
    grade = HASTY.grade("\\boxed{9^{9^{9^9}}}", {"answer": "3"})
    assert (grade.score, grade.note) == (0.0, "timed out")
    assert HASTY.grade("\\boxed{31}", {"answer": "31"}).passed
    assert time.monotonic() - start < 30


def test_a_gold_that_takes_for_ever_is_an_error() -> None:
    grade = HASTY.grade("\\boxed{3}", {"answer": "9^{9^{9^9}}"})
    assert grade.score is None and "1.5 seconds" in grade.error


def test_a_process_that_died_is_an_error_once() -> None:
    assert GRADER.grade("\\boxed{71}", {"answer": "71"}).passed
    worker = math_pool._slots.queue[-1]
    assert worker is not None
    os.kill(worker._process.pid, signal.SIGKILL)
    worker._process.wait()
    assert "math-verify process" in GRADER.grade("\\boxed{72}", {"answer": "72"}).error
    assert GRADER.grade("\\boxed{73}", {"answer": "73"}).passed


def test_processes_are_replaced_and_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(math_pool, "REQUESTS_PER_WORKER", 2)
    math_pool.close()
    assert all(GRADER.grade(f"\\boxed{{{n}}}", {"answer": str(n)}).passed for n in range(200, 205))
    math_pool.close()
    assert list(math_pool._slots.queue) == [None] * math_pool.WORKERS


@pytest.mark.slow
def test_threads_get_the_right_verdicts_with_hostile_answers_among_them() -> None:
    numbers = list(range(1000, 3000))
    random.Random(0).shuffle(numbers)
    completions = [f"\\boxed{{{n + n % 2}}}" for n in numbers]
    for place in range(0, 2000, 200):
        completions[place] = f"\\boxed{{9^{{9^{{{place + 1000}}}}}}}"
    with ThreadPoolExecutor(8) as pool:
        grades = list(pool.map(lambda n, text: HASTY.grade(text, {"answer": n}), numbers, completions))
    for place, (number, grade) in enumerate(zip(numbers, grades, strict=True)):
        assert not grade.error
        assert grade.passed == (number % 2 == 0 and place % 200 != 0)


def test_every_math500_gold_passes_and_the_next_row_does_not(shared_data: Path) -> None:
    with gzip.open(shared_data / "math/math500.jsonl.gz", "rt") as file:
        rows = [json.loads(line) for line in file]
    golds = [GRADER.gold(row) or "" for row in rows]
    assert sum(grade.passed for grade in grade_all([GRADER], golds, rows)) == 500
    assert sum(grade.passed for grade in grade_all([GRADER], [row["solution"] for row in rows], rows)) == 500
    wrong = grade_all([GRADER], golds, rows[1:] + rows[:1])
    pairs = zip(rows[1:] + rows[:1], rows, wrong, strict=True)
    equal = [(gold["answer"], given["answer"]) for gold, given, grade in pairs if grade.passed]
    assert sorted(equal) == [("3", "3"), ("7", "7"), ("x=5", "5")]
