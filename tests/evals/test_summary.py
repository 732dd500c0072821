"""Counting a look by hand: samples, errors, truncation, votes, parts, groups."""

from __future__ import annotations

import math

import pytest

from posttrain.data.records import Problem
from posttrain.engines.sampling import Completion
from posttrain.errors import UserError
from posttrain.evals.summary import Graded, refuse_errors, summarize
from posttrain.graders.grade import Grade, Part, failure

RIGHT, WRONG, FAILED = Grade(1.0, True), Grade(0.0, False), failure("model_grader_server_error", "judge down")


def graded(*grades: Grade, tokens: int = 10, truncated: bool = False, **fields: str) -> Graded:
    problem = Problem([{"role": "user", "content": "?"}], {"answer": "1", **fields}, place="a.jsonl:1")
    return Graded(problem, [Completion("x", tokens, truncated) for _ in grades], list(grades))


def said(answer: str | None, passed: bool = False) -> Grade:
    return Grade(float(passed), passed, answer=answer)


def test_by_hand() -> None:
    look = summarize(
        [graded(RIGHT, WRONG, WRONG, WRONG), graded(RIGHT, RIGHT, WRONG, WRONG, tokens=20, truncated=True)], [1, 2]
    )
    assert look.figures["reward"].mean == pytest.approx((1 / 4 + 2 / 4) / 2)
    assert look.figures["pass@1"].mean == pytest.approx((1 / 4 + 2 / 4) / 2)
    # of the 6 pairs of samples, 3 hold the one right sample, and 5 one of the two; 0 and 1 are both right
    assert look.figures["pass@2"].mean == pytest.approx((3 / 6 + 5 / 6) / 2)
    assert look.figures["pass^2"].mean == pytest.approx((0 / 6 + 1 / 6) / 2)
    assert look.figures["pass@1"].stderr == pytest.approx(0.125)  # deviation 0.1768 of two questions, over sqrt 2
    assert (look.problems, look.samples, look.errors, look.truncated, look.mean_tokens) == (2, 8, {}, 4, 15)
    assert look.unanswered is None and "maj@2" not in look.figures  # nothing to vote on


def test_votes() -> None:
    """Pairs of (5 right, 7, none): {5,7} ties, {5,none} is won, {7,none} is lost: (1/2 + 1 + 0) / 3."""
    look = summarize([graded(said("5", True), said("7"), said(None))], [1, 2])
    assert look.figures["maj@2"].mean == pytest.approx(0.5)
    assert look.unanswered == 1
    # all spellings of the right answer are one answer: 2 votes against 1 wrong one in the only triple
    look = summarize([graded(said("1/2", True), said("0.5", True), said("7"))], [3])
    assert look.figures["maj@3"].mean == 1.0


def test_a_sample_without_a_verdict_counts_nowhere_but_as_an_error() -> None:
    look = summarize([graded(RIGHT, FAILED, FAILED), graded(WRONG, RIGHT, WRONG), graded(FAILED)], [1, 2])
    assert look.errors == {"model_grader_server_error": 3}
    assert look.problems == 2
    assert look.figures["reward"].mean == pytest.approx((1 + 1 / 3) / 2)
    assert look.figures["pass@2"].n == 1  # the first problem has one verdict, too few for pass@2
    assert look.values["pass@2"] == [None, pytest.approx(2 / 3), None]
    with pytest.raises(UserError, match="judge down"):
        summarize([graded(FAILED)], [1])


def test_too_many_errors_stop() -> None:
    refuse_errors(3, 19, 0.1, "judge down")  # too few to tell
    refuse_errors(2, 20, 0.1, "judge down")
    with pytest.raises(UserError, match=r"3 of 20 completions .*10%.*judge down"):
        refuse_errors(3, 20, 0.1, "judge down")


def test_graders_of_a_recipe_are_shown_apart() -> None:
    one = Grade(0.75, False, parts=(Part("number", 1.0, True), Part("format", 0.0, False)))
    two = Grade(1.0, True, parts=(Part("number", 1.0, True), Part("format", 1.0, True)))
    look = summarize([graded(one, two), graded(two, two)], [1], parts=("number", "format"))
    assert look.figures["score/number"].mean == 1.0
    assert look.figures["score/format"].mean == pytest.approx((0.5 + 1) / 2)


def test_constraints_are_counted_over_all_of_them() -> None:
    """3 constraints of which 1 holds, and 1 that holds: 2 of 4 hold, though the problems' mean share is 2/3."""
    parts = (Part("a", 1.0, True), Part("b", 0.0, False), Part("c", 0.0, False))
    look = summarize(
        [graded(Grade(0.0, False, parts=parts)), graded(Grade(1.0, True, parts=(Part("d", 1.0, True),)))], [1]
    )
    found = look.figures["parts_passed"]
    assert found.mean == pytest.approx(2 / 4)
    # Delta method: residuals 1 - 3/2 and 1 - 1/2 over a mean of 2 constraints, deviation of (-1/4, 1/4) over sqrt 2
    assert found.stderr == pytest.approx(math.sqrt((0.25**2 + 0.25**2) / 1 / 2))


def test_groups_widen_the_error() -> None:
    rows = [graded(RIGHT, topic="a"), graded(RIGHT, topic="a"), graded(WRONG, topic="b"), graded(WRONG, topic="b")]
    alone = summarize(rows, [1]).figures["pass@1"]
    together = summarize(rows, [1], group_by="topic").figures["pass@1"]
    assert together.mean == alone.mean == 0.5
    # Four deviations of 1/2: variance 1/3, over 4; each group adds 2 * (1/2 * 1/2) / 16, twice.
    assert alone.stderr == pytest.approx(math.sqrt(1 / 12))
    assert together.stderr == pytest.approx(math.sqrt(1 / 12 + 1 / 16))
