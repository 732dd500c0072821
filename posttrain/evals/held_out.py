"""A look at problems: sample, grade, keep. The same look is taken while training and by `eval`, `signal` and
`sample`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from posttrain.data.records import Problem
from posttrain.engines.sampling import Completion, Engine, Prompt, Sampling
from posttrain.evals.summary import Graded, refuse_errors
from posttrain.graders import grade_all
from posttrain.graders.grade import Grader, failure


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
    *,
    max_errors: float = 1.0,
) -> Iterator[tuple[int, Graded]]:
    """Yield (index, problem with its completions and grades), each problem once, in the order they are finished.

    Grading goes on in a thread beside the sampling. Raises UserError as soon as more than the share `max_errors` of all
    these completions is left without a verdict; which problems were finished first has no part in it.
    """

    def graded(index: int, completions: list[Completion]) -> tuple[int, Graded]:
        return index, grade_group(problems[index], completions, graders)

    asked, errors = len(problems) * sampling.samples, 0
    pool = ThreadPoolExecutor(1)
    try:
        waiting = deque[Future[tuple[int, Graded]]]()
        groups = iter(engine(prompts, sampling))
        while True:
            group = next(groups, None)
            if group is not None:
                waiting.append(pool.submit(graded, *group))
            while waiting and (group is None or waiting[0].done()):
                index, row = waiting.popleft().result()
                yield index, row
                failed = [grade.error for grade in row.grades if grade.error]
                errors += len(failed)
                if failed:
                    refuse_errors(errors, asked, max_errors, failed[-1])
            if group is None:
                return
    finally:
        # A judge that is down is not asked about what still waits, and a stop does not wait for its last answer.
        pool.shutdown(wait=False, cancel_futures=True)


def grade_group(problem: Problem, completions: list[Completion], graders: Sequence[Grader]) -> Graded:
    """Return the problem with its completions graded; one that the engine could not give is an error."""
    texts = [completion.text for completion in completions if not completion.error]
    grades = iter(grade_all(graders, texts, [problem.item] * len(texts)))
    each = [failure("other_error", c.error) if c.error else next(grades) for c in completions]
    return Graded(problem, completions, each)


def in_order(graded: Iterable[tuple[int, Graded]], on_done: Callable[[int], None] | None = None) -> list[Graded]:
    """Return the problems in their own order; `on_done` is told how many completions each brought."""
    found: dict[int, Graded] = {}
    for index, row in graded:
        found[index] = row
        if on_done:
            on_done(len(row.completions))
    return [found[index] for index in sorted(found)]
