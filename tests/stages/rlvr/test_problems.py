"""Rests and the queue, worked by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from posttrain.data.records import Problem
from posttrain.engines.sampling import Completion
from posttrain.evals.summary import Graded
from posttrain.graders import Grade
from posttrain.recipe.schema import Retire
from posttrain.stages.rlvr.problems import Look, Problems, append_looks, look_at, read_looks, write_looks


def look(step: int, index: int = 0, passed: float | None = 1.0, **changes) -> Look:
    seen = Look(step, index, "a:1", 4, 0, passed, passed, varied=passed not in (None, 0.0, 1.0))
    return replace(seen, **changes)


def steps_of_rest(looks: list[Look], until: int = 200) -> list[int]:
    problems = Problems(1, 7, Retire(looks=2, steps=5))
    for seen in looks:
        problems.add(seen)
    return [step for step in range(looks[-1].step + 1, until) if problems.rests(0, step)]


def test_a_problem_rests_after_two_looks_of_a_kind_and_then_twice_as_long() -> None:
    assert steps_of_rest([look(1)]) == []
    assert steps_of_rest([look(1), look(2)]) == [3, 4, 5, 6, 7]
    assert steps_of_rest([look(1, passed=0.0), look(2, passed=0.0)]) == [3, 4, 5, 6, 7]
    assert steps_of_rest([look(1), look(2), look(8)]) == list(range(9, 19))
    assert len(steps_of_rest([look(step) for step in range(1, 30)], 1000)) == 5 * 32


@pytest.mark.parametrize(
    "between",
    [look(2, passed=0.5), look(2, passed=0.0), look(2, passed=None), look(2, varied=True)],
    ids=["some passed", "none passed", "no verdict", "all passed with other rewards"],
)
def test_a_look_of_another_kind_starts_the_count_anew(between: Look) -> None:
    assert steps_of_rest([look(1), between, look(3)]) == []


def test_without_retire_none_rests() -> None:
    problems = Problems(1, 7, None)
    for step in range(9):
        problems.add(look(step))
    assert not problems.rests(0, 10)


def test_the_queue_goes_over_all_problems_again_and_again_in_orders_of_the_seed() -> None:
    def drawn(seed: int) -> list[int]:
        problems = Problems(6, seed, None)
        return [problems.next(1, set())[0] for _ in range(18)]

    laps = [drawn(7)[start : start + 6] for start in (0, 6, 12)]
    assert all(sorted(lap) == [0, 1, 2, 3, 4, 5] for lap in laps)
    assert laps[0] != laps[1] != laps[2]
    assert drawn(7) == drawn(7) != drawn(8)


def test_the_queue_passes_over_what_rests_and_what_is_taken() -> None:
    problems = Problems(3, 7, Retire(looks=1, steps=5))
    problems.add(look(1, index=1))
    taken = {0}
    assert problems.next(2, taken)[0] == 2
    assert taken == {0, 2}
    assert problems.next(2, taken) is None
    assert problems.resting(2) == (1, 0)
    assert problems.resting(7) == (0, 0)


def test_a_run_that_reads_its_file_back_goes_on_as_it_was(tmp_path) -> None:
    def go_on(problems: Problems, steps: range) -> list[Look]:
        seen = []
        for step in steps:
            index, queue = problems.next(step, set())
            seen.append(look(step, index=index, passed=float(index % 2), queue=queue))
            problems.add(seen[-1])
        return seen

    whole = Problems(5, 3, Retire(looks=1, steps=2))
    looks = go_on(whole, range(1, 13))
    append_looks(tmp_path, looks[:3])
    append_looks(tmp_path, looks[3:])
    kept = read_looks(tmp_path, until=7)
    assert kept == looks[:7]
    write_looks(tmp_path, kept)
    assert read_looks(tmp_path, until=99) == kept
    resumed = Problems(5, 3, Retire(looks=1, steps=2))
    for seen in kept:
        resumed.add(seen)
    assert go_on(resumed, range(8, 13)) == looks[7:]


PROBLEM = Problem([{"role": "user", "content": "2 + 3"}], {"answer": "5"}, place="a.jsonl:4")


def group(*scores: float | None, truncated: int = 0) -> Graded:
    grades = [Grade(None, False, error="timeout: slow") if s is None else Grade(s, s == 1) for s in scores]
    completions = [Completion("5", 3, truncated=i < truncated) for i in range(len(scores))]
    return Graded(PROBLEM, completions, grades)


def test_what_a_look_says() -> None:
    assert look_at(3, 8, group(1.0, 0.0, None, 1.0), queue=2) == Look(
        3, 8, "a.jsonl:4", samples=4, errors=1, reward=2 / 3, passed=2 / 3, varied=True, queue=2
    )
    assert not look_at(3, 8, group(0.1, 0.1, None)).varied
    none = look_at(3, 8, group(None, None))
    assert (none.reward, none.passed, none.varied, none.errors) == (None, None, False, 2)


def test_a_group_of_masked_completions_teaches_nothing() -> None:
    assert look_at(1, 0, group(1.0, 0.0, truncated=2)).varied
    assert not look_at(1, 0, group(1.0, 0.0, truncated=2), mask_truncated=True).varied
    assert look_at(1, 0, group(1.0, 0.0, truncated=1), mask_truncated=True).varied
