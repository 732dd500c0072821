from __future__ import annotations

import time
from pathlib import Path

import pytest
from pydantic import ValidationError

from posttrain.graders import BadProblem, build
from posttrain.graders.pattern import PatternSettings


def passes(pattern: str, completion: str, answer: object = None, *, thinking: bool = False) -> bool:
    settings = PatternSettings(type="pattern", pattern=pattern, thinking=thinking)
    return build(settings, Path()).grade(completion, {"answer": answer}).passed


def test_a_match_passes() -> None:
    assert passes(r"^\d+$", "12")
    assert not passes(r"^\d+$", "12 eggs")
    assert passes(r"(?i)PARIS", "in paris")


def test_the_group_answer_must_hold_the_answer_in_every_match() -> None:
    assert passes(r"<answer>(?P<answer>.*?)</answer>", "<answer> 12 </answer>", 12)
    assert not passes(r"<answer>(?P<answer>.*?)</answer>", "<answer>13</answer>", 12)
    assert not passes(r"<answer>(?P<answer>.*?)</answer>", "<answer>12</answer><answer>13</answer>", 12)
    assert not passes(r"<answer>(?P<answer>.*?)</answer>", "12", 12)


def test_thinking_is_searched_only_when_asked() -> None:
    assert not passes("ducks", "<think>ducks</think>12")
    assert passes("ducks", "<think>ducks</think>12", thinking=True)
    assert not passes(".*", "<think>never ends")


def test_a_search_without_end_is_an_error_not_a_zero() -> None:
    grader = build(PatternSettings(type="pattern", pattern=r"(a+)+$", timeout_seconds=0.2), Path())
    start = time.monotonic()
    grade = grader.grade("a" * 5000 + "b", {})
    assert time.monotonic() - start < 5
    assert grade.score is None and not grade.passed and "0.2 seconds" in grade.error


def test_bad_settings_and_problems_are_refused() -> None:
    with pytest.raises(ValidationError, match="not a regular expression"):
        PatternSettings(type="pattern", pattern="(")
    with pytest.raises(BadProblem, match="answer"):
        build(PatternSettings(type="pattern", pattern="(?P<answer>x)"), Path()).gold({"question": "?"})
