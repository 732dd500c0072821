"""A look at held-out problems: sample, grade, count. The same look is taken while training and by `eval`."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posttrain.data.records import Problem
from posttrain.engines.sampling import Completion, Engine, Prompt, Sampling
from posttrain.errors import UserError
from posttrain.evals.statistics import Estimate, estimate, pass_at_k
from posttrain.graders import grade_all
from posttrain.graders.grade import Grade, Grader, failure


@dataclass(frozen=True)
class Graded:
    """One problem with its completions and their grades."""

    problem: Problem
    completions: list[Completion]
    grades: list[Grade]


@dataclass(frozen=True)
class Look:
    """What one look at a set of problems found. A sample without a verdict is in `errors` and nowhere else."""

    reward: Estimate
    pass_at: dict[int, Estimate]
    problems: int
    samples: int
    errors: int
    truncated: int
    mean_tokens: float

    def metrics(self) -> dict[str, float]:
        """Return the look as one flat row: reward, pass@k and their standard errors, lengths, counts."""
        row: dict[str, float] = {"reward": self.reward.mean}
        if self.reward.stderr is not None:
            row["reward_stderr"] = self.reward.stderr
        for k, value in self.pass_at.items():
            row[f"pass@{k}"] = value.mean
            if value.stderr is not None:
                row[f"pass@{k}_stderr"] = value.stderr
        share = self.truncated / max(self.samples, 1)
        return row | {
            "completions/mean_length": self.mean_tokens,
            "completions/clipped_ratio": share,
            "grader_errors": self.errors,
        }


def prompts_of(problems: Sequence[Problem], prompt_ids: Sequence[Sequence[int]]) -> list[Prompt]:
    """Return what an engine is asked, for problems and their token ids."""
    pairs = zip(problems, prompt_ids, strict=True)
    return [Prompt(problem.prompt, ids, problem.tools) for problem, ids in pairs]


def sample_and_grade(
    engine: Engine,
    problems: Sequence[Problem],
    prompts: Sequence[Prompt],
    graders: Sequence[Grader],
    sampling: Sampling,
) -> Iterator[tuple[int, Graded]]:
    """Yield (index, problem with its completions and grades), each problem once, in the order they are finished.

    Grading goes on in a thread beside the sampling.
    """

    def judged(index: int, completions: list[Completion]) -> tuple[int, Graded]:
        item = problems[index].item
        texts = [completion.text for completion in completions if not completion.error]
        grades = iter(grade_all(graders, texts, [item] * len(texts)))
        return index, Graded(
            problems[index],
            completions,
            [failure("other_error", c.error) if c.error else next(grades) for c in completions],
        )

    with ThreadPoolExecutor(1) as pool:
        waiting = deque[Future[tuple[int, Graded]]]()
        for index, completions in engine(prompts, sampling):
            waiting.append(pool.submit(judged, index, completions))
            while waiting and waiting[0].done():
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def in_order(graded: Iterable[tuple[int, Graded]], on_done: Callable[[int], None] | None = None) -> list[Graded]:
    """Return the problems in their own order; `on_done` is told how many completions each brought."""
    found: dict[int, Graded] = {}
    for index, row in graded:
        found[index] = row
        if on_done:
            on_done(len(row.completions))
    return [found[index] for index in sorted(found)]


def summarize(graded: Sequence[Graded], k: Sequence[int]) -> Look:
    """Return the counts and estimates over problems.

    A problem enters pass@k with the samples that have a verdict, and only when at least k of them do.
    Raises UserError when no sample has one.
    """
    judged = [(row, [grade for grade in row.grades if not grade.error]) for row in graded]
    judged = [(row, grades) for row, grades in judged if grades]
    if not judged:
        raise UserError(
            f"no completion could be graded: {graded[0].grades[0].error}",
            where="graders",
            fix="try the grader alone with `posttrain grade`",
        )
    reward = estimate([sum(grade.score or 0.0 for grade in grades) / len(grades) for _, grades in judged])
    pass_at = {}
    for size in k:
        rates = [
            pass_at_k(len(grades), sum(grade.passed for grade in grades), size)
            for _, grades in judged
            if len(grades) >= size
        ]
        if rates:
            pass_at[size] = estimate(rates)
    completions = [completion for row in graded for completion in row.completions]
    return Look(
        reward=reward,
        pass_at=pass_at,
        problems=len(judged),
        samples=len(completions),
        errors=sum(bool(grade.error) for row in graded for grade in row.grades),
        truncated=sum(completion.truncated for completion in completions),
        mean_tokens=sum(completion.tokens for completion in completions) / len(completions),
    )


def write_samples(path: Path, graded: Sequence[Graded]) -> None:
    """Write one JSON object a completion: the problem, the text and its grade."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for row in graded:
            for completion, grade in zip(row.completions, row.grades, strict=True):
                file.write(json.dumps(sample_row(row.problem, completion.text, grade), ensure_ascii=False) + "\n")


def sample_row(problem: Problem, completion: str, grade: Grade) -> dict[str, Any]:
    """Return what samples/ keeps of one completion."""
    return {
        "prompt": problem.prompt,
        "completion": completion,
        "score": grade.score,
        "passed": grade.passed,
        "answer": grade.answer,
        "note": grade.note,
        "error": grade.error,
        "place": problem.place,
    }
