"""Answers that are tried on a grader: what it said of each, how long that took, and the rows that it refused."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from posttrain.graders import BadProblem, Grade, Grader, grade_all
from posttrain.graders.grade import failure


class Trial(NamedTuple):
    """One answer to the problem of the row at `place`."""

    place: str
    problem: Mapping[str, Any]
    text: str


class Counts(NamedTuple):
    """How the tries of one kind went; those whose grader failed are left out."""

    tried: int
    passed: int
    mean: float | None

    def said(self) -> str:
        """Return ``3 of 40 passed``, with the mean score where that says more."""
        partial = self.mean is not None and not math.isclose(self.mean, self.passed / self.tried, abs_tol=0.005)
        return f"{self.passed:,} of {self.tried:,} passed" + (f", mean score {self.mean:.2f}" if partial else "")


class Trials:
    """A grader being tried; `advance` is called after each grade."""

    def __init__(self, grader: Grader, advance: Callable[[], None]) -> None:
        self.done: dict[str, list[tuple[Trial, Grade]]] = {}
        self.refused: dict[str, str] = {}  # place of a row -> why it cannot be graded
        self._seconds: list[float] = []
        self._grader = replace(grader, grade=self._watched(grader, advance))

    def run(self, kind: str, batch: Sequence[Trial]) -> None:
        """Grade a batch of answers, as many at once as the grader likes."""
        problems = [{**trial.problem, _PLACE: trial.place} for trial in batch]
        grades = grade_all([self._grader], [trial.text for trial in batch], problems)
        self.done[kind] = [(t, grade) for t, grade in zip(batch, grades, strict=True) if t.place not in self.refused]

    def grades(self) -> list[Grade]:
        """Return every grade so far."""
        return [grade for pairs in self.done.values() for _, grade in pairs]

    def counts(self, kind: str) -> Counts:
        """Return how the answers of one kind fared."""
        scores = [(grade.score, grade.passed) for _, grade in self.done[kind] if grade.score is not None]
        mean = math.fsum(score for score, _ in scores) / len(scores) if scores else None
        return Counts(len(scores), sum(passed for _, passed in scores), mean)

    def worst_text(self, kind: str) -> tuple[str, float]:
        """Return the answer of one kind that passed most often, and how often; there must be one."""
        verdicts: dict[str, list[bool]] = {}
        for trial, grade in self.done[kind]:
            if not grade.error:
                verdicts.setdefault(trial.text, []).append(grade.passed)
        rates = {text: sum(passed) / len(passed) for text, passed in verdicts.items()}
        worst = max(rates, key=lambda text: rates[text])
        return worst, rates[worst]

    def seconds(self, share: float) -> float:
        """Return the seconds in which this share of the grades was made; 0 before any."""
        ordered = sorted(self._seconds) or [0.0]
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    def mean_seconds(self) -> float:
        """Return the mean seconds of a grade."""
        return math.fsum(self._seconds) / max(1, len(self._seconds))

    def _watched(self, grader: Grader, advance: Callable[[], None]) -> Callable[[str, Mapping[str, Any]], Grade]:
        def grade(completion: str, problem: Mapping[str, Any]) -> Grade:
            fields = {key: value for key, value in problem.items() if key != _PLACE}
            started = time.perf_counter()
            try:
                return grader.grade(completion, fields)
            except BadProblem as error:
                self.refused[problem[_PLACE]] = str(error)
                return failure("invalid_variable_error", str(error))
            finally:
                self._seconds.append(time.perf_counter() - started)
                advance()

        return grade


_PLACE = "\0place"  # beside the problem's fields, under a name that none of them has
