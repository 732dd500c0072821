"""Completions in a file: a look that was cut off goes on where it was, and nothing is drawn or graded twice."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from posttrain.data.records import Problem
from posttrain.engines.sampling import Completion
from posttrain.errors import UserError
from posttrain.evals.kept import look_again, read_back
from posttrain.evals.summary import Graded
from posttrain.graders.grade import Grade, Grader, Part, failure

PROBLEMS = [Problem([{"role": "user", "content": f"{i}?"}], {"answer": i}, place=f"a.jsonl:{i}") for i in range(4)]


class Model:
    """Answers each problem with its number, and remembers what it was asked; stops after `most` problems."""

    def __init__(self, most: int = 99, error: str = "") -> None:
        self.asked: list[int] = []
        self.graded = 0
        self.most, self.error = most, error

    def grader(self) -> Grader:
        def grade(completion: str, problem) -> Grade:
            self.graded += 1
            part = Part("length", 1.0, True, "short")
            return Grade(1.0, completion == str(problem["answer"]), "read", completion, parts=(part,))

        return Grader("equal", 1.0, grade, lambda problem: None)

    def draw(self, indices: Sequence[int]) -> Iterator[tuple[int, Graded]]:
        for index in reversed(indices):
            if len(self.asked) == self.most:
                raise KeyboardInterrupt
            self.asked.append(index)
            done = [Completion(str(index), 3, False), Completion("", 0, False, self.error)]
            done = done if self.error else [done[0], done[0]]
            grade = self.grader().grade
            grades = [
                failure("other_error", c.error) if c.error else grade(c.text, PROBLEMS[index].fields) for c in done
            ]
            yield index, Graded(PROBLEMS[index], done, grades)

    def look(self, path: Path, graded_by: str = "g") -> list[Graded]:
        self.told: list[int] = []
        return look_again(path, PROBLEMS, 2, [self.grader()], graded_by, self.draw, self.told.append)


def test_a_look_that_was_cut_off_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    first = Model(most=2)
    with pytest.raises(KeyboardInterrupt):
        first.look(path)
    with path.open("a") as file:
        file.write('{"key": "cut o')
    second = Model()
    graded = second.look(path)
    assert (first.asked, second.asked) == ([3, 2], [1, 0])
    assert second.told == [2, 2, 2, 2]
    assert [row.problem for row in graded] == PROBLEMS
    assert all(grade.passed and grade.parts[0].note == "short" for row in graded for grade in row.grades)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["place"] for line in lines] == [f"a.jsonl:{i}" for i in range(4) for _ in range(2)]


def test_nothing_is_drawn_or_graded_twice_and_other_graders_grade_the_same_text(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    Model().look(path)
    again, regraded = Model(), Model()
    again.look(path)
    assert (again.asked, again.graded) == ([], 0)
    regraded.look(path, graded_by="other")
    assert (regraded.asked, regraded.graded) == ([], 8)


def test_what_the_engine_could_not_give_is_asked_again(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    graded = Model(error="the server is gone").look(path)
    assert [bool(grade.error) for grade in graded[0].grades] == [False, True]
    model = Model()
    graded = model.look(path)
    assert model.asked == [3, 2, 1, 0]
    assert not any(grade.error for row in graded for grade in row.grades)
    assert {sample["engine_error"] for rows in read_back(path).values() for sample in rows.values()} == {""}


def test_a_smaller_look_keeps_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    model = Model()
    model.look(path)
    look_again(path, PROBLEMS[:1], 2, [model.grader()], "g", model.draw, lambda done: None)
    again = Model()
    again.look(path)
    assert again.asked == []


def test_a_completion_may_hold_any_line_separator(tmp_path: Path) -> None:
    text = "a\u2028b\x85c\u2029d"

    def draw(indices: Sequence[int]) -> Iterator[tuple[int, Graded]]:
        for index in indices:
            yield index, Graded(PROBLEMS[index], [Completion(text, 1, False)], [Grade(0.0, False)])

    path = tmp_path / "samples.jsonl"
    look_again(path, PROBLEMS, 1, [], "g", draw, lambda done: None)
    assert [rows[0]["completion"] for rows in read_back(path).values()] == [text] * 4


def test_too_many_errors_stop_a_repeated_look_too(tmp_path: Path) -> None:
    many = [Problem([{"role": "user", "content": f"{i}?"}], {"answer": i}) for i in range(30)]
    broken = Grader("broken", 1.0, lambda completion, problem: failure("other_error", "down"), lambda problem: None)

    def draw(indices: Sequence[int]) -> Iterator[tuple[int, Graded]]:
        for index in indices:
            yield index, Graded(many[index], [Completion("", 1, False)], [failure("other_error", "down")])

    path = tmp_path / "samples.jsonl"
    for _ in range(2):
        with pytest.raises(UserError, match=r"more than rollout\.max_grader_errors"):
            look_again(path, many, 1, [broken], "g", draw, lambda done: None, max_errors=0.5)
