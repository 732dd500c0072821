"""Sampling and grading side by side: who was slow, or finished first, changes nothing."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence

import pytest

from posttrain.data.records import Problem
from posttrain.engines.sampling import Completion, Engine, Prompt, Sampling
from posttrain.errors import UserError
from posttrain.evals.held_out import in_order, sample_and_grade
from posttrain.evals.summary import Graded, summarize
from posttrain.graders import Grade, Grader
from posttrain.graders.grade import failure

PROBLEMS = [Problem([{"role": "user", "content": str(n)}], {"n": n}) for n in range(12)]
PROMPTS = [Prompt(problem.prompt) for problem in PROBLEMS]
SAMPLING = Sampling(samples=4, max_new_tokens=8)


def engine_of(order: Sequence[int]) -> Engine:
    """An engine that finishes the problems in this order."""

    def sample(prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[tuple[int, list[Completion]]]:
        for index in order:
            yield index, [Completion(f"{index} {n}", 2, False) for n in range(sampling.samples)]

    return sample


def slow_grader(seconds: float, failing: Sequence[int] = ()) -> Grader:
    """A judge that takes a random time, and has no verdict on the problems that are failing."""

    def grade(completion: str, problem) -> Grade:
        time.sleep(random.uniform(0, seconds))
        index, n = map(int, completion.split())
        if problem["n"] in failing:
            return failure("model_grader_server_error", "down")
        return Grade((index * 7 + n) % 5 / 4, n == 0, completion)

    return Grader("judge", 1.0, grade, gold=lambda problem: None, parallel=4)


def look(order: Sequence[int], grader: Grader, most: float = 1.0) -> list[Graded]:
    graded = sample_and_grade(engine_of(order), PROBLEMS, PROMPTS, [grader], SAMPLING, max_errors=most)
    return in_order(graded)


def test_the_verdict_is_the_same_whoever_was_slow() -> None:
    expected = look(range(12), slow_grader(0.0, failing=[3]))
    assert [row.problem.fields["n"] for row in expected] == list(range(12))
    assert [grade.note for grade in expected[5].grades] == ["5 0", "5 1", "5 2", "5 3"]
    for seed in range(3):
        order = random.Random(seed).sample(range(12), 12)
        found = look(order, slow_grader(0.01, failing=[3]))
        assert found == expected
        assert summarize(found, [1]).metrics() == summarize(expected, [1]).metrics()


def test_too_many_errors_stop_whatever_came_first() -> None:
    """12 of 48 fail, a quarter: of the first that come they are all, or none."""
    failing = [0, 1, 2]
    first, last = [0, 1, 2, *range(3, 12)], [*range(3, 12), 0, 1, 2]
    for order in (first, last):
        assert len(look(order, slow_grader(0.0, failing), most=0.25)) == 12
        with pytest.raises(UserError, match=r"of 48 completions could not be graded.*\(20%\)"):
            look(order, slow_grader(0.0, failing), most=0.2)
