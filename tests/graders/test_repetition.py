from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from posttrain.graders import build
from posttrain.graders.repetition import RepetitionSettings, repeated_share


@pytest.mark.parametrize(
    ("text", "n", "share"),
    [
        ("a b c d", 2, 0.0),  # ab bc cd
        ("a b a b", 2, 1 / 3),  # ab ba ab
        ("a a a a a", 2, 3 / 4),  # aa four times
        ("a b c a b c a b c", 3, 4 / 7),  # abc bca cab abc bca cab abc
        ("a b", 3, 0.0),
        ("", 1, 0.0),
        ("a A", 1, 0.0),
    ],
)
def test_repeated_share(text: str, n: int, share: float) -> None:
    assert repeated_share(text.split(), n) == pytest.approx(share)


@pytest.mark.parametrize(
    ("options", "completion", "score", "passed"),
    [
        ({}, "I see. " * 50, 2 / 97, False),  # 100 words, 97 4-grams, two of them distinct
        ({}, "The quick brown fox jumps over the lazy dog.", 1.0, True),
        ({"n": 1, "at_most": 0.5}, "No no", 0.5, True),
        ({"n": 1, "at_most": 0.4}, "No no", 0.5, False),
        ({}, "a" * 1000, 1.0, True),  # one word
        ({"unit": "characters", "n": 10}, "a" * 1000, 1 / 991, False),
        ({"n": 1}, "<think>so so so so</think>Yes", 3 / 4, True),  # <think>so, so, so, so</think>yes
        ({"n": 1, "thinking": False}, "<think>so so so so</think>Yes", 1.0, True),
        ({"thinking": False}, "<think>so", 0.0, False),
    ],
)
def test_repetition(options: dict[str, Any], completion: str, score: float, passed: bool) -> None:
    grade = build(RepetitionSettings(type="repetition", **options), Path()).grade(completion, {})
    assert (grade.score, grade.passed) == (pytest.approx(score), passed)


def test_it_is_logged_unless_told_otherwise() -> None:
    assert build(RepetitionSettings(type="repetition"), Path()).role == "log"
    assert build(RepetitionSettings(type="repetition", role="gate"), Path()).role == "gate"
