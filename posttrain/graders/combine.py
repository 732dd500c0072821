"""Several graders as one verdict, many completions at once, and the check that a problem can be graded."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from posttrain.graders.grade import BadProblem, Grade, Grader, Part, failure, shortened

A = TypeVar("A")
B = TypeVar("B")


def grade_all(
    graders: Sequence[Grader], completions: Sequence[str], problems: Sequence[Mapping[str, Any]]
) -> list[Grade]:
    """Return one grade for each completion of the problem beside it, of several graders as `combined` has it.

    Raises BadProblem for a problem that cannot be graded.
    """
    columns = [[_sound(grade) for grade in _grades(grader, completions, problems)] for grader in graders]
    return [combined(graders, grades) for grades in zip(*columns, strict=True)]


def combined(graders: Sequence[Grader], grades: Sequence[Grade]) -> Grade:
    """Return the graders' verdicts on one completion as one; a single grader's stays as it is.

    The score is the mean of those that score, by weight, and 0 without every gate's pass: a gate can forbid a
    reward and never pays one. It has passed when all of these have, and it is an error when one of them failed.
    Graders that only log are in `parts`.
    """
    if len(grades) == 1:
        return grades[0]
    named = list(zip(graders, grades, strict=True))
    parts = tuple(Part(grader.name, g.score, g.passed, g.note, g.error) for grader, g in named)
    counted = [(grader, grade) for grader, grade in named if grader.role != "log"]
    if errors := [(grader.name, grade.error) for grader, grade in counted if grade.error]:
        kind, _, message = errors[0][1].partition(": ")
        more = "".join(f"; {name}: {error}" for name, error in errors[1:])
        return Grade(None, False, error=f"{kind}: {errors[0][0]}: {message}{more}", parts=parts)
    scoring = [(grader.weight, grade) for grader, grade in counted if grader.role == "score"]
    mean = math.fsum(w * (grade.score or 0.0) for w, grade in scoring) / math.fsum(w for w, _ in scoring)
    opened = all(grade.passed for grader, grade in counted if grader.role == "gate")
    return Grade(
        score=mean if opened else 0.0,
        passed=all(grade.passed for _, grade in counted),
        note="; ".join(f"{grader.name}: {grade.note}" for grader, grade in counted if grade.note),
        answer=next((grade.answer for _, grade in scoring if grade.answer is not None), None),
        parts=parts,
    )


def _sound(grade: Grade) -> Grade:
    """Return the grade, as a failure of its grader where its score is NaN or infinite: it would spoil a whole batch."""
    if grade.score is None or math.isfinite(grade.score):
        return grade
    return failure("other_error", f"the score is {grade.score}")


def part_names(graders: Sequence[Grader]) -> tuple[str, ...]:
    """Return the names of the parts that every grade by these graders has: the graders, where there are several, or
    those that the only one promises."""
    return tuple(grader.name for grader in graders) if len(graders) > 1 else graders[0].parts if graders else ()


def check_problem(graders: Sequence[Grader], problem: Mapping[str, Any]) -> None:
    """Raise BadProblem when a grader cannot grade this problem, or does not pass its own gold answer."""
    for grader in graders:
        gold = grader.gold(problem)
        if gold is None:
            continue
        grade = grader.grade(gold, problem)
        if not grade.passed:
            raise BadProblem(
                f"the gold answer does not pass the grader '{grader.name}': {grade.error or grade.note} "
                f"(graded as {shortened(gold)!r})"
            )


def check_problems(graders: Sequence[Grader], problems: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return for each problem what `check_problem` has against it; an empty string where it can be graded."""

    def complaint(problem: Mapping[str, Any]) -> str:
        try:
            check_problem(graders, problem)
        except BadProblem as error:
            return str(error)
        return ""

    return _mapped(max((grader.parallel for grader in graders), default=1), complaint, problems)


def _grades(grader: Grader, completions: Sequence[str], problems: Sequence[Mapping[str, Any]]) -> list[Grade]:
    pairs = list(zip(completions, problems, strict=True))
    return _mapped(grader.parallel, lambda pair: grader.grade(*pair), pairs)


def _mapped(parallel: int, function: Callable[[A], B], items: Sequence[A]) -> list[B]:
    if parallel == 1 or len(items) < 2:
        return [function(item) for item in items]
    with ThreadPoolExecutor(parallel) as pool:
        return list(pool.map(function, items))
