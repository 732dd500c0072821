"""Counting a look by hand: samples, errors, truncation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from posttrain.data.records import Problem
from posttrain.engines.sampling import Completion
from posttrain.errors import UserError
from posttrain.evals.held_out import Graded, summarize, write_samples
from posttrain.graders import build, grade_all
from posttrain.graders.grade import Grade
from posttrain.graders.length import LengthSettings
from posttrain.graders.number import NumberSettings

RIGHT, WRONG, FAILED = Grade(1.0, True), Grade(0.0, False), Grade(None, False, error="judge down")


def graded(*grades: Grade, tokens: int = 10, truncated: bool = False) -> Graded:
    problem = Problem([{"role": "user", "content": "?"}], {"answer": "1"}, place="a.jsonl:1")
    return Graded(problem, [Completion("x", tokens, truncated) for _ in grades], list(grades))


def test_by_hand() -> None:
    look = summarize(
        [graded(RIGHT, WRONG, WRONG, WRONG), graded(RIGHT, RIGHT, WRONG, WRONG, tokens=20, truncated=True)], [1, 2]
    )
    assert look.reward.mean == pytest.approx((1 / 4 + 2 / 4) / 2)
    assert look.pass_at[1].mean == pytest.approx((1 / 4 + 2 / 4) / 2)
    # of the 6 pairs of samples, 3 hold the one right sample, and 5 one of the two
    assert look.pass_at[2].mean == pytest.approx((3 / 6 + 5 / 6) / 2)
    assert look.pass_at[1].stderr == pytest.approx(0.125)  # deviation 0.1768 of two questions, over sqrt 2
    assert (look.problems, look.samples, look.errors, look.truncated, look.mean_tokens) == (2, 8, 0, 4, 15)


def test_a_sample_without_a_verdict_counts_nowhere_but_as_an_error() -> None:
    look = summarize([graded(RIGHT, FAILED, FAILED), graded(WRONG, RIGHT, WRONG)], [1, 2])
    assert look.errors == 2
    assert look.reward.mean == pytest.approx((1 + 1 / 3) / 2)
    assert look.pass_at[2].n == 1  # the first problem has one verdict, too few for pass@2
    with pytest.raises(UserError, match="judge down"):
        summarize([graded(FAILED)], [1])


def test_several_graders_are_shown_apart() -> None:
    graders = [build(NumberSettings(type="number"), Path()), build(LengthSettings(type="length", at_most=2), Path())]
    problem = Problem([{"role": "user", "content": "?"}], {"answer": "1"})
    texts = ["1", "2", "it is 1", "it is 2", "it is 3"]
    grades = grade_all(graders, texts, [problem.fields] * 5)
    look = summarize([Graded(problem, [Completion(text, 1, False) for text in texts], grades)], [1], graders)
    assert look.reward.mean == pytest.approx(2 / 5)
    metrics = look.metrics()
    assert (metrics["graders/number"], metrics["graders/length"]) == (pytest.approx(2 / 5), pytest.approx(2 / 5))
    assert [
        name for name in summarize([graded(RIGHT)], [1], graders[:1]).metrics() if name.startswith("graders/")
    ] == []


def test_every_completion_is_kept(tmp_path: Path) -> None:
    write_samples(tmp_path / "samples" / "dev.jsonl", [graded(RIGHT, FAILED)])
    rows = [json.loads(line) for line in (tmp_path / "samples" / "dev.jsonl").read_text().splitlines()]
    assert [(row["score"], row["passed"], row["error"]) for row in rows] == [
        (1.0, True, ""),
        (None, False, "judge down"),
    ]
    assert rows[0]["place"] == "a.jsonl:1"
