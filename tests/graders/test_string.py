from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from posttrain.graders import BadProblem, build
from posttrain.graders.string import StringSettings


@pytest.mark.parametrize(
    ("options", "completion", "answer", "passed"),
    [
        ({}, " Paris\n", "Paris", True),
        ({}, "paris", "Paris", False),
        ({}, "Paris.", "Paris", False),
        ({}, "Paris", ["Lutetia", "Paris"], True),
        ({}, "cafe\u0301", "caf\u00e9", True),
        ({}, "<think>Rome</think>Paris", "Paris", True),
        ({}, "<think>Paris", "Paris", False),
        ({}, "7", 7, True),
        ({"strip": False}, " Paris", "Paris", False),
        ({"ignore_case": True}, "PARIS", "Paris", True),
        ({"ignore_punctuation": True}, "Paris , France!", "Paris, France", True),
        ({"mode": "contains"}, "It is Paris, I think", "Paris", True),
        ({"mode": "contains"}, "It is Rome", "Paris", False),
        ({"after": "Answer:"}, "Rome? No.\nAnswer: Paris\nDone.", "Paris", True),
        ({"after": "Answer:"}, "Paris", "Paris", False),
        ({"after": "Answer:"}, "Answer: Rome\nAnswer: Paris", "Paris", False),
        ({"after": "Answer:"}, "Answer: Paris\nAnswer: Paris", "Paris", True),
    ],
)
def test_string(options: dict[str, Any], completion: str, answer: object, passed: bool) -> None:
    grader = build(StringSettings(type="string", **options), Path())
    problem = {"answer": answer}
    assert grader.grade(completion, problem).passed == passed
    assert grader.grade(grader.gold(problem) or "", problem).passed


@pytest.mark.parametrize("answer", ["", "  ", [], ["Paris", ""]])
def test_empty_answer_is_refused(answer: object) -> None:
    grader = build(StringSettings(type="string", mode="contains"), Path())
    with pytest.raises(BadProblem):
        grader.grade("anything", {"answer": answer})
