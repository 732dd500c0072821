from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from posttrain.errors import UserError
from posttrain.graders import Grade, build
from posttrain.graders.python import PythonSettings

SOURCE = """
import math
from helper import LIMIT

def short(completion: str, problem: dict) -> float:
    return 1.0 if len(completion) <= problem["limit"] else 0.25

def grade(sample, item):
    return sample["output_json"]["n"] == item["n"] if "output_json" in sample else completion_is_n(sample)

def completion_is_n(sample):
    return sample["output_text"] == "n"

def value(completion, problem):
    return problem["value"]

def broken(completion, problem):
    return problem["no such field"]

def numpy_score(completion, problem):
    import numpy
    return numpy.float32(0.5)

def one_argument(completion):
    return 1.0
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "my_grader.py").write_text(SOURCE)
    (tmp_path / "helper.py").write_text("LIMIT = 3\n")
    (tmp_path / "unfinished.py").write_text("def grade(a, b):\n    return (\n")
    (tmp_path / "raises.py").write_text("x = 1\nraise RuntimeError('no data')\n")
    return tmp_path


def grade_with(folder: Path, function: str, completion: str, problem: dict[str, object]) -> Grade:
    return build(PythonSettings(type="python", path=f"my_grader.py:{function}"), folder).grade(completion, problem)


def test_a_function_of_completion_and_problem(folder: Path) -> None:
    assert grade_with(folder, "short", "abc", {"limit": 3}) == Grade(1.0, True)
    assert grade_with(folder, "short", "abcd", {"limit": 3}) == Grade(0.25, False)
    assert grade_with(folder, "numpy_score", "", {}) == Grade(0.5, False)


def test_openais_signature(folder: Path) -> None:
    assert grade_with(folder, "grade", '{"n": 4}', {"n": 4}).passed
    assert not grade_with(folder, "grade", '{"n": 5}', {"n": 4}).passed
    assert grade_with(folder, "grade", "n", {"n": 4}).passed
    assert not grade_with(folder, "grade", "[" * 100_000, {"n": 4}).passed


@pytest.mark.parametrize(
    ("value", "grade"),
    [
        (True, Grade(1.0, True)),
        (False, Grade(0.0, False)),
        (1, Grade(1.0, True)),
        ({"score": 0.5, "passed": True, "note": "half"}, Grade(0.5, True, "half")),
        ({"score": 1.0}, Grade(1.0, True)),
    ],
)
def test_values(folder: Path, value: object, grade: Grade) -> None:
    assert grade_with(folder, "value", "", {"value": value}) == grade


@pytest.mark.parametrize(
    "value",
    [None, "1", 5, -0.1, float("nan"), float("inf"), {}, {"score": None}, {"score": 1, "reward": 1}, [1.0]],
)
def test_a_value_that_is_no_score_is_an_error_not_a_zero(folder: Path, value: object) -> None:
    grade = grade_with(folder, "value", "", {"value": value})
    assert grade.score is None and not grade.passed and grade.error.startswith("python_grader_runtime_error: returned")


def test_an_exception_is_an_error_with_its_line(folder: Path) -> None:
    grade = grade_with(folder, "broken", "", {})
    assert grade.score is None and "KeyError" in grade.error and grade.error.endswith("my_grader.py:18)")


def test_the_threshold_decides_what_has_passed(folder: Path) -> None:
    settings = PythonSettings(type="python", path="my_grader.py:short", pass_threshold=0.2)
    assert build(settings, folder).grade("abcd", {"limit": 3}) == Grade(0.25, True)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("my_grade.py:short", "Did you mean 'my_grader.py'"),
        ("my_grader.py:shart", "no function 'shart'. Did you mean 'short'"),
        ("my_grader.py:LIMIT", "no function 'LIMIT'"),
        ("my_grader.py:one_argument", "cannot be called with two arguments"),
        ("unfinished.py:grade", "unfinished.py:2: the grader file cannot be run: SyntaxError"),
        ("raises.py:grade", "raises.py:2: the grader file cannot be run: RuntimeError: no data"),
    ],
)
def test_what_the_user_can_mend(folder: Path, path: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        build(PythonSettings(type="python", path=path), folder)
    assert message in str(error.value)


def test_the_path_names_a_file_and_a_function() -> None:
    with pytest.raises(ValidationError, match=r"as grader\.py:grade"):
        PythonSettings(type="python", path="grader.py")
