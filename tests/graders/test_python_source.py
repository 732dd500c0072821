from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from posttrain.errors import UserError
from posttrain.graders import Grade, build, grade_all
from posttrain.graders.environment import distribution, imported_packages, package_directories
from posttrain.graders.python import PythonSettings

PARTIAL = """
import json

def grade(sample: dict, item: dict) -> float:
    try:
        return 5 if sample["output_json"]["n"] == item["n"] else 2
    except:
        return 0
"""


def grade(source: str, completion: str = "", problem: dict[str, Any] | None = None, **settings: Any) -> Grade:
    return build(PythonSettings(type="python", source=source, **settings), Path()).grade(completion, problem or {})


def body(line: str) -> str:
    return f"def grade(sample, item):\n    {line}\n"


def test_openais_grader_gives_any_number() -> None:
    assert grade(PARTIAL, '<think>hm</think>{"n": 4}', {"n": 4}) == Grade(5.0, True)
    assert grade(PARTIAL, '{"n": 3}', {"n": 4}, pass_threshold=3, image_tag="2025-05-08") == Grade(2.0, False)
    assert grade(PARTIAL, "no JSON", {"n": 4}, pass_threshold=3) == Grade(0.0, False)
    assert grade(body("return -0.5"), pass_threshold=-1) == Grade(-0.5, True)
    assert grade(PARTIAL, "<think>never", {"n": 4}).note == "thinking never ended"


def test_openais_grader_in_json() -> None:
    settings = {"type": "python", "name": "n", "source": PARTIAL, "image_tag": "2025-05-08", "pass_threshold": 4}
    grader = build(PythonSettings.model_validate(settings), Path())
    assert (grader.name, grader.grade('{"n": 4}', {"n": 4}).passed) == ("n", True)


def test_values() -> None:
    assert grade(body("return True")) == Grade(1.0, True)
    assert grade(body("return {'score': 3, 'passed': False, 'note': 'so'}")) == Grade(3.0, False, "so")
    assert grade("import numpy\n" + body("return numpy.float32(0.5)")) == Grade(0.5, False)
    assert grade("from decimal import Decimal\n" + body("return Decimal(1) / 4")).error


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("return float('nan')", "returned nan: the score must be a finite number"),
        ("return 10**400", "OverflowError"),
        ("return 'good'", "returned 'good': the score must be a finite number"),
        ("return None", "returned None: the score must be a finite number"),
        ("return {'score': [1]}", "returned [1]: the score must be a finite number"),
        ("return {'reward': 1}", "returned the unknown key 'reward'"),
        ("return item['x']", "KeyError: 'x' (source:2)"),
        ("raise SystemExit(0)", "SystemExit: 0 (source:2)"),
        ("import os; os._exit(0)", "ended without a result (status 0)"),
        ("import ctypes; ctypes.string_at(0)", "ended without a result (status -11)"),
        ("return [0] * 10**10", "MemoryError"),
        ("while True: pass", "took longer than 0.5 s"),
        ("import time; time.sleep(9)", "took longer than 0.5 s"),
    ],
)
def test_an_error_is_the_graders_not_the_completions(line: str, message: str) -> None:
    result = grade(body(line), timeout_seconds=0.5)
    assert result.score is None and not result.passed
    assert result.error.startswith("python_grader_runtime_error: ") and message in result.error


@pytest.mark.parametrize(
    "attack",
    [
        "__import__('os').listdir('/root') or 1",
        "open('/etc/passwd').read() and 1",
        "__import__('socket').create_connection(('127.0.0.1', 22)) and 1",
        "__import__('os').system('true') + 2",
        "len(__import__('os').environ.get('API_KEY', '') or 1 / 0)",
    ],
)
def test_a_completion_that_is_evaluated_reaches_nothing(attack: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real graders eval() what the model wrote."""
    monkeypatch.setenv("API_KEY", "sk")
    result = grade(body("return float(eval(sample['output_text']))"), attack)
    # The command cannot be started, and says so by its status.
    assert result.error or (result.score == 2 + 127 * 256)


def test_one_grade_leaves_nothing_to_the_next() -> None:
    source = "import json\nseen = []\n" + body(
        "seen.append(1); was = hasattr(json, 'left'); json.left = 1; return len(seen) + was"
    )
    grader = build(PythonSettings(type="python", source=source), Path())
    grades = grade_all([grader], [""] * 6, [{}] * 6)
    assert [result.score for result in grades] == [1.0] * 6


def test_a_grade_costs_milliseconds() -> None:
    grader = build(PythonSettings(type="python", source="import numpy\n" + body("return 1")), Path())
    grader.grade("", {})
    start = time.process_time(), time.monotonic()
    for _ in range(20):
        assert grader.grade("", {}).passed
    # By the clock it depends on who else is here; numpy's import alone takes 100 ms.
    assert time.monotonic() - start[1] < 20 * 0.1 and time.process_time() - start[0] < 20 * 0.02


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import nothing.at.all\n" + body("return 1"), "source:1: the grader imports nothing.at.all, which is not"),
        ("def grade(a, b):\n    import sklearn_x\n    return 1", "pip install sklearn_x"),
        ("def grad(sample, item): return 1", "no function 'grade'. Did you mean 'grad'?"),
        ("def grade(sample): return 1", "source:1: 'grade' cannot be called with two arguments"),
        ("x = (\n", "source:1: the grader cannot be run: SyntaxError"),
        ("1 / 0\n" + body("return 1"), "ZeroDivisionError: division by zero (source:1)"),
        ("open('/etc/passwd')\n" + body("return 1"), "the grader cannot be run: "),
    ],
)
def test_what_the_user_can_mend(source: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        build(PythonSettings(type="python", source=source), Path())
    assert message in str(error.value)


def test_an_import_that_the_source_can_do_without() -> None:
    assert grade("try:\n    import nothing\nexcept ImportError:\n    nothing = None\n" + body("return 1")).passed


def test_what_is_imported() -> None:
    import ast

    text = "import os, numpy as np\nfrom sklearn.metrics import f1_score\nfrom . import x\ndef f():\n    import yaml\n"
    assert imported_packages(ast.parse(text)) == {"numpy": 1, "sklearn.metrics": 2, "yaml": 5}
    assert distribution("sklearn.metrics") == "scikit-learn" and distribution("rapidfuzz") == "rapidfuzz"
    assert all(Path(folder).is_dir() for folder in package_directories())


def test_a_file_that_is_not_trusted(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "def short(completion, problem):\n    return len(completion) <= problem['limit']\n"
        "def grade(sample, item):\n    return sample['output_text'] == item['answer']\n"
        "def peek(completion, problem):\n    return 1 if open(__file__).read() else 0\n"
        "def five(completion, problem):\n    return 5\n"
    )

    def by(function: str, completion: str, problem: dict[str, Any]) -> Grade:
        settings = PythonSettings(type="python", path=f"mine.py:{function}", untrusted=True)
        return build(settings, tmp_path).grade(completion, problem)

    assert by("short", "abc", {"limit": 3}) == Grade(1.0, True)
    assert by("grade", "<think>x</think> yes ", {"answer": "yes"}).passed
    assert "mine.py:6" in by("peek", "", {}).error
    assert "the score must be a number from 0 to 1" in by("five", "", {}).error


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"path": "a.py:f", "source": "x"},
        {"path": "a.py:f", "pass_threshold": 2.0},
        {"source": "x", "sandbox": "no"},
    ],
)
def test_settings_that_do_not_go_together(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        PythonSettings(type="python", **settings)
