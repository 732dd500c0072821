"""What a look at a set of problems found: each problem's own figures, and the set's with error bars."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from posttrain.data.records import Problem
from posttrain.engines.sampling import Completion
from posttrain.errors import UserError
from posttrain.evals.statistics import Estimate, estimate, maj_at_k, pass_at_k, pass_hat_k
from posttrain.graders.grade import Grade, Part, error_kind

MIN_JUDGED = 20
"""Completions before a share of grader errors means anything."""


@dataclass(frozen=True)
class Graded:
    """One problem with its completions and their grades."""

    problem: Problem
    completions: list[Completion]
    grades: list[Grade]


@dataclass(frozen=True)
class Look:
    """What one look at a set of problems found.

    `figures` are means over problems: reward, pass@k, pass^k, maj@k where answers can be compared, and the mean
    score of each part of a grade. `values` has the same before averaging, by problem in the order of the look, None
    where a problem has too few verdicts. A sample without a verdict is in `errors` and nowhere else.
    """

    figures: dict[str, Estimate]
    values: dict[str, list[float | None]]
    problems: int
    samples: int
    errors: dict[str, int]
    truncated: int
    unanswered: int | None
    mean_tokens: float
    groups: list[str] | None = field(default=None)

    def metrics(self) -> dict[str, float]:
        """Return the look as one flat row: figures and their standard errors, lengths, counts."""
        row: dict[str, float] = {}
        for name, value in self.figures.items():
            row[name] = value.mean
            if value.stderr is not None:
                row[f"{name}_stderr"] = value.stderr
        return row | {
            "completions/mean_length": self.mean_tokens,
            "completions/clipped_ratio": self.truncated / max(self.samples, 1),
            "grader_errors": sum(self.errors.values()),
        }


def summarize(
    graded: Sequence[Graded], k: Sequence[int], *, parts: Sequence[str] = (), group_by: str | None = None
) -> Look:
    """Return the counts and estimates over problems; with `group_by`, the problem's field whose values group them,
    standard errors are clustered. `parts` are the names of the parts that every grade has (`graders.part_names`).

    A problem enters a figure of k samples with the samples that have a verdict, and only when at least k of them
    do. Raises UserError when no sample has a verdict.
    """
    judged = [[grade for grade in row.grades if not grade.error] for row in graded]
    if not any(judged):
        first = next((grade.error for row in graded for grade in row.grades), "nothing was sampled")
        raise UserError(
            f"no completion could be graded: {first}",
            where="graders",
            fix="try the grader alone with `posttrain grade`",
        )
    groups = None if group_by is None else [str(row.problem.fields.get(group_by)) for row in graded]
    votes = any(grade.answer is not None for grades in judged for grade in grades)
    values: dict[str, list[float | None]] = {"reward": [_mean([g.score or 0.0 for g in grades]) for grades in judged]}
    for size in k:
        values[f"pass@{size}"] = [_of_k(pass_at_k, grades, size) for grades in judged]
    for size in k:
        if size > 1 and votes:
            values[f"maj@{size}"] = [_majority(grades, size) for grades in judged]
    for size in k:
        if size > 1:
            values[f"pass^{size}"] = [_of_k(pass_hat_k, grades, size) for grades in judged]
    values |= _parts(judged, parts)
    completions = [completion for row in graded for completion in row.completions if not completion.error]
    unanswered = sum(grade.answer is None and not grade.passed for grades in judged for grade in grades)
    return Look(
        figures={name: found for name, each in values.items() if (found := _estimate(each, groups))},
        values=values,
        problems=sum(bool(grades) for grades in judged),
        samples=sum(len(row.completions) for row in graded),
        errors=dict(Counter(error_kind(grade.error) for row in graded for grade in row.grades if grade.error)),
        truncated=sum(completion.truncated for completion in completions),
        unanswered=unanswered if votes else None,
        mean_tokens=_mean([completion.tokens for completion in completions]) or 0.0,
        groups=groups,
    )


def refuse_errors(errors: int, samples: int, most: float, last: str) -> None:
    """Raise UserError when the share of completions without a verdict is above `most`, the recipe's limit."""
    if samples >= MIN_JUDGED and errors > most * samples:
        raise UserError(
            f"{errors:,} of {samples:,} completions could not be graded, more than rollout.max_grader_errors allows "
            f"({most:.0%}); the last one: {last}",
            where="graders",
            fix="mend the grader (`posttrain grade` tries it alone), or raise the limit; what was done is kept",
        )


def check_errors(graded: Sequence[Graded], most: float) -> None:
    """Raise UserError when more than the share `most` of these completions is left without a verdict."""
    errors = [grade.error for row in graded for grade in row.grades if grade.error]
    if errors:
        refuse_errors(len(errors), sum(len(row.grades) for row in graded), most, errors[-1])


def _of_k(count, grades: Sequence[Grade], k: int) -> float | None:
    return count(len(grades), sum(grade.passed for grade in grades), k) if len(grades) >= k else None


def _majority(grades: Sequence[Grade], k: int) -> float | None:
    """Return maj@k of one problem. All answers that pass are one answer, however they are written."""
    if len(grades) < k:
        return None
    right = sum(grade.passed and grade.answer is not None for grade in grades)
    wrong = Counter(grade.answer for grade in grades if not grade.passed and grade.answer is not None)
    return maj_at_k(right, list(wrong.values()), len(grades) - right - wrong.total(), k)


def _parts(judged: Sequence[Sequence[Grade]], names: Sequence[str]) -> dict[str, list[float | None]]:
    """Return the parts of the grades, by problem: the mean score of each named part (``score/NAME``: several graders),
    or the share of all parts that passed (``parts_passed``: tests, constraints; IFEval's instruction level)."""
    if names:
        return {
            f"score/{name}": [_mean(_scores([grade.parts[i] for grade in grades])) for grades in judged]
            for i, name in enumerate(names)
        }
    if not any(grade.parts for grades in judged for grade in grades):
        return {}
    passed = [_mean([float(sum(part.passed for part in grade.parts)) for grade in grades]) for grades in judged]
    there = [_mean([float(len(grade.parts)) for grade in grades]) for grades in judged]
    return {"parts_passed": _ratio(passed, there)}


def _ratio(top: Sequence[float | None], bottom: Sequence[float | None]) -> list[float | None]:
    """Return a value for each problem whose mean is the ratio of the sums, and whose error is the ratio's by the
    delta method: ``R + (top - R bottom) / mean(bottom)`` (Cochran 1977, section 2.11)."""
    pairs = [(a, b) for a, b in zip(top, bottom, strict=True) if a is not None and b is not None]
    mean = math.fsum(b for _, b in pairs) / len(pairs)
    ratio = math.fsum(a for a, _ in pairs) / len(pairs) / mean
    return [
        None if a is None or b is None else ratio + (a - ratio * b) / mean for a, b in zip(top, bottom, strict=True)
    ]


def _scores(parts: Sequence[Part]) -> list[float]:
    return [part.score for part in parts if part.score is not None]


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _estimate(values: Sequence[float | None], groups: Sequence[str] | None) -> Estimate | None:
    there = [(value, i) for i, value in enumerate(values) if value is not None]
    if not there:
        return None
    return estimate([value for value, _ in there], [groups[i] for _, i in there] if groups else None)
