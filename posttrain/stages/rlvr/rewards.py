"""What the graders say of a step's completions: TRL's rewards, the figures it logs, and the file that keeps them."""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

from posttrain.engines.sampling import Completion
from posttrain.evals.kept import sample_row
from posttrain.evals.summary import Graded, refuse_errors, summarize
from posttrain.graders import Grade, grade_all, part_names
from posttrain.graders.repetition import repeated_share
from posttrain.model.tokenizer import stop_token_ids
from posttrain.runs import directory
from posttrain.stages.job import Job
from posttrain.stages.rlvr.problems import rewards_differ
from posttrain.stages.together import everyones

_RECENT_STEPS = 10
"""Steps over which the share of completions without a verdict is counted."""


def reward_of(job: Job) -> Callable[..., list[float | None]]:
    """Return TRL's reward function: one score a completion, None where the grader failed (TRL leaves those out).

    Completions that our engine drew come with their grades; those that TRL drew are graded here.
    """
    keep = keeper(job)
    stops = set(stop_token_ids(job.tokenizer))

    def graded(prompts, completion_ids, index, trainer_state, log_metric, grade=None, **_: Any) -> list[float | None]:
        if grade is None:
            groups = _groups(job, completion_ids, index, stops)
            keep(trainer_state.global_step + 1, groups, log_metric)
            grade = [one for group in groups for one in group.grades]
            equal = [not rewards_differ(group) for group in groups]
            log_metric("rollout/equal_rewards", sum(equal) / len(equal))
        return [None if one.error else one.score for one in grade]

    return graded


def keeper(job: Job) -> Callable[[int, Sequence[Graded], Callable[[str, float], None]], None]:
    """Return a function that keeps a step's groups in samples/ and logs their figures.

    It raises UserError, in all ranks at once, when too many completions of the last steps have no verdict.
    """
    recent: deque[tuple[int, int]] = deque(maxlen=_RECENT_STEPS)
    sizes = [k for k in job.recipe.eval.k if k <= job.arguments.num_generations]

    def keep(step: int, groups: Sequence[Graded], log_metric: Callable[[str, float], None]) -> None:
        grades = [grade for group in groups for grade in group.grades]
        failed = [grade.error for grade in grades if grade.error]
        _append_samples(job, step, groups)
        everyone = everyones([(len(failed), len(grades), failed[-1] if failed else "")])
        recent.append((sum(errors for errors, _, _ in everyone), sum(drawn for _, drawn, _ in everyone)))
        if said := next((last for _, _, last in everyone if last), ""):
            errors, drawn = (sum(counts) for counts in zip(*recent, strict=True))
            refuse_errors(errors, drawn, job.recipe.rollout.max_grader_errors, said)
        if len(failed) < len(grades):
            for name, found in summarize(groups, sizes, parts=part_names(job.graders)).figures.items():
                if name != "reward":  # TRL logs that
                    log_metric(name, found.mean)
        log_metric("grader_errors", float(len(failed)))
        log_metric("grader_error_share", len(failed) / len(grades))
        log_metric("completions/identical", identical(groups))
        log_metric("completions/repetition", repetition(groups))

    return keep


def identical(groups: Sequence[Graded]) -> float:
    """Return the share of completions that are word for word one of another problem's. Those of one problem may well
    agree."""
    texts = [Counter(completion.text.strip() for completion in group.completions) for group in groups]
    everywhere = Counter(text for found in texts for text in found)
    shared = sum(count for found in texts for text, count in found.items() if everywhere[text] > 1)
    return shared / sum(found.total() for found in texts)


def repetition(groups: Sequence[Graded]) -> float:
    """Return the share of a completion's word 4-grams that it has said before, in the mean over completions."""
    texts = [completion.text for group in groups for completion in group.completions]
    return sum(repeated_share(text.lower().split(), 4) for text in texts) / len(texts)


def _groups(job: Job, completion_ids: Sequence[list[int]], index: Sequence[int], stops: set[int]) -> list[Graded]:
    """Grade completions that TRL drew, a problem's own side by side; `index` says whose each is."""
    texts = [job.tokenizer.decode(ids, skip_special_tokens=True) for ids in completion_ids]
    grades: list[Grade] = grade_all(job.graders, texts, [job.train_problems[i].item for i in index])
    completions = [
        Completion(text, len(ids), truncated=not stops.intersection(ids[-1:]))
        for text, ids in zip(texts, completion_ids, strict=True)
    ]
    groups = []
    for _, members in groupby(range(len(index)), key=lambda i: index[i]):
        rows = list(members)
        problem = job.train_problems[index[rows[0]]]
        groups.append(Graded(problem, [completions[i] for i in rows], [grades[i] for i in rows]))
    return groups


def _append_samples(job: Job, step: int, groups: Sequence[Graded]) -> None:
    """Keep the step's completions; each rank writes its own share."""
    path = job.run / directory.SAMPLES / f"train-{step:06d}-rank{job.arguments.process_index}.jsonl"
    with path.open("a", encoding="utf-8") as file:
        for group in groups:
            for completion, grade in zip(group.completions, group.grades, strict=True):
                row = sample_row(group.problem, completion, grade)
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
