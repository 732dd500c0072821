from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from posttrain.errors import UserError
from posttrain.graders import (
    GRADERS,
    AnyGrader,
    BadProblem,
    Grade,
    Grader,
    Part,
    build,
    build_all,
    check_problem,
    grade_all,
    part_names,
)

PARSE: TypeAdapter[Any] = TypeAdapter(AnyGrader)


def made(**settings: Any) -> Grader:
    return build(PARSE.validate_python(settings), Path())


def test_every_grader_of_the_table_is_in_the_schema() -> None:
    schema = PARSE.json_schema()
    assert set(schema["discriminator"]["mapping"]) == set(GRADERS)
    for model in schema["$defs"].values():
        described = {key for key, value in model["properties"].items() if "description" in value}
        assert set(model["properties"]) - described <= {"type"}


def test_one_grader_is_given_back_as_it_is() -> None:
    grades = grade_all([made(type="number", weight=3)], ["5", "6"], [{"answer": 5}, {"answer": 5}])
    assert grades == [Grade(1.0, True, "", "5"), Grade(0.0, False, "answer 6, expected 5", "6")]


def test_several_graders_are_a_mean_by_weight_and_pass_together() -> None:
    graders = [made(type="number", weight=3), made(type="pattern", pattern="^Answer:")]
    right, half = grade_all(graders, ["Answer: 5", "so 5"], [{"answer": 5}] * 2)
    assert right == Grade(1.0, True, "", "5", "", (Part("number", 1.0, True), Part("pattern", 1.0, True)))
    assert (half.score, half.passed, half.note) == (0.75, False, "pattern: no match")


def test_a_grader_that_failed_makes_the_whole_an_error() -> None:
    graders = [made(type="number"), made(type="pattern", pattern="(a+)+$", timeout_seconds=0.1)]
    (grade,) = grade_all(graders, ["5 " + "a" * 5000 + "b"], [{"answer": 5}])
    assert grade.score is None and not grade.passed and grade.error.startswith("other_error: pattern: the pattern took")
    assert [part.passed for part in grade.parts] == [True, False]


def test_a_gate_forbids_and_never_pays() -> None:
    graders = [made(type="number"), made(type="pattern", pattern="^Answer:", role="gate")]
    grades = grade_all(graders, ["Answer: 5", "so 5", "Answer: 6", "so 6"], [{"answer": 5}] * 4)
    assert [(grade.score, grade.passed) for grade in grades] == [(1, True), (0, False), (0, False), (0, False)]


def test_what_only_logs_is_neither_paid_nor_needed() -> None:
    slow = {"type": "pattern", "name": "slow", "pattern": "(a+)+$", "timeout_seconds": 0.1, "role": "log"}
    graders = [made(type="number"), made(type="pattern", pattern="^Answer:", role="log"), made(**slow)]
    (grade,) = grade_all(graders, ["5 " + "a" * 5000 + "b"], [{"answer": 5}])
    assert (grade.score, grade.passed, grade.error) == (1.0, True, "")
    assert [(part.name, part.passed, bool(part.error)) for part in grade.parts] == [
        ("number", True, False),
        ("pattern", False, False),
        ("slow", False, True),
    ]
    with pytest.raises(UserError, match="no grader scores"):
        build_all([PARSE.validate_python({"type": "number", "role": "log"})], Path())


def test_columns_rename_the_fields() -> None:
    grader = made(type="number", columns={"answer": "solution"})
    assert grader.grade("5", {"solution": 5}).passed
    assert grader.gold({"solution": 5}) == "#### 5"
    with pytest.raises(BadProblem, match="no field 'solution'"):
        grader.grade("5", {"answer": 5})


def test_names_are_distinct() -> None:
    settings = [PARSE.validate_python({"type": "pattern", "pattern": "a"}) for _ in range(2)]
    with pytest.raises(UserError, match="two graders are called 'pattern'"):
        build_all(settings, Path())
    settings[0] = settings[0].model_copy(update={"name": "format"})
    assert [grader.name for grader in build_all(settings, Path())] == ["format", "pattern"]


def test_check_problem_refuses_what_cannot_be_graded() -> None:
    graders = [made(type="string", after="Answer:", ignore_punctuation=True), made(type="number")]
    check_problem(graders, {"answer": "5"})
    with pytest.raises(BadProblem, match="not a number: 'five'"):
        check_problem(graders, {"answer": "five"})
    with pytest.raises(BadProblem, match="no field 'answer'"):
        check_problem(graders, {"question": "?"})
    strict = Grader("strict", 1.0, lambda completion, problem: Grade(0.0, False, "never"), lambda problem: "gold")
    with pytest.raises(BadProblem, match="gold answer does not pass the grader 'strict': never"):
        check_problem([strict], {})


def test_part_names_are_the_graders_or_those_that_the_only_one_promises() -> None:
    graders = [made(type="number"), made(type="pattern", pattern="a")]
    assert part_names(graders) == ("number", "pattern")
    assert part_names(graders[:1]) == ()
    assert part_names([]) == ()


def test_a_score_that_is_no_number_is_its_graders_failure() -> None:
    def grader(score: float) -> Grader:
        return Grader("broken", 1.0, lambda completion, problem: Grade(score, True), gold=lambda problem: None)

    (alone,) = grade_all([grader(float("nan"))], ["x"], [{}])
    assert (alone.score, alone.passed, alone.error) == (None, False, "other_error: the score is nan")
    (beside,) = grade_all([replace(grader(1.0), name="sound"), grader(float("inf"))], ["x"], [{}])
    assert beside.score is None and beside.error == "other_error: broken: the score is inf"
