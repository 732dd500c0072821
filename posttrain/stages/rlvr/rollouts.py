"""The completions of a step, drawn by our engine and graded while it goes on drawing, before TRL asks for them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from posttrain.engines.sampling import Engine, Sampling, training_sampling
from posttrain.evals.held_out import in_order, prompts_of, sample_and_grade
from posttrain.evals.summary import Graded
from posttrain.stages.arguments import train_settings
from posttrain.stages.job import Job
from posttrain.stages.rlvr.fill import Ask, Filled, fill
from posttrain.stages.rlvr.problems import Look, Problems, append_looks, look_at, read_looks, write_looks
from posttrain.stages.sampler import sampler
from posttrain.stages.together import everyones, until_stopped


@dataclass(frozen=True)
class Drawn:
    """What a step has drawn: what `fill` says of all ranks, all `groups` of this one, and those of its `batch` with the
    looks at them."""

    filled: Filled
    groups: list[Graded]
    batch: list[tuple[Look, Graded]]
    resting: tuple[int, int]


class Rollouts:
    """Draws the groups of each step of a job, and remembers what was seen of each problem."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._problems: Problems | None = None
        self._batch: list[tuple[Look, Graded]] = []

    def draw(self, trainer: Any, indices: Sequence[int]) -> Drawn:
        """Return the groups of a step that was to have the problems with these indices. All ranks call this at once,
        each with as many of its own."""
        job, step = self._job, trainer.state.global_step + 1
        problems = self._remembered(trainer, step)
        rollout = job.recipe.rollout
        first = trainer.accelerator.process_index * len(indices)
        here = range(first, first + len(indices))
        groups: dict[int, Graded] = {}
        with sampler(trainer, job) as sample:

            def draw(asked: Mapping[int, Ask]) -> dict[int, Look]:
                mine = [asked[place] for place in sorted(asked) if place in here]
                found = until_stopped(partial(self._graded, sample, [ask.index for ask in mine], step))
                groups.update(zip((ask.index for ask in mine), found, strict=True))
                masked = job.arguments.mask_truncated_completions
                looks = [
                    look_at(step, ask.index, group, queue=ask.queue, mask_truncated=masked)
                    for ask, group in zip(mine, found, strict=True)
                ]
                return dict(zip(sorted(asked), everyones(looks), strict=True))

            refills = rollout.max_refills if rollout.dynamic_sampling else 0
            filled = fill(problems, step, everyones(list(indices)), draw, refills=refills)
        for look in filled.looks:
            problems.add(look)
        if trainer.is_world_process_zero():
            append_looks(job.run, filled.looks)
        self._batch = [(look, groups[look.index]) for look in (filled.final[place] for place in here)]
        return Drawn(filled, list(groups.values()), self._batch, problems.resting(step + 1))

    @property
    def indices(self) -> list[int]:
        """The problems of this rank's batch that was drawn last."""
        return [look.index for look, _ in self._batch]

    def hand_out(self, prompts: Any, trainer: Any) -> dict[str, list[Any]]:
        """TRL's `rollout_func`: the tokens of each row of the batch that was drawn last, their log-probabilities, and
        its grade."""
        ids = self._job.train_dataset.select([look.index for look, _ in self._batch])["prompt_ids"]
        rows = [
            (prompt, completion, grade)
            for prompt, (_, group) in zip(ids, self._batch, strict=True)
            for completion, grade in zip(group.completions, group.grades, strict=True)
        ]
        return {
            "prompt_ids": [list(prompt) for prompt, _, _ in rows],
            "completion_ids": [list(completion.ids) for _, completion, _ in rows],
            "logprobs": [list(completion.logprobs or ()) for _, completion, _ in rows],
            "grade": [grade for _, _, grade in rows],
        }

    def _graded(self, sample: Engine, indices: Sequence[int], step: int) -> list[Graded]:
        job = self._job
        if not indices:
            return []
        problems = [job.train_problems[index] for index in indices]
        prompts = prompts_of(problems, job.train_dataset.select(indices)["prompt_ids"])
        return in_order(sample_and_grade(sample, problems, prompts, job.graders, self._sampling(step)))

    def _sampling(self, step: int) -> Sampling:
        recipe, samples = self._job.recipe, self._job.arguments.num_generations
        seed = step_seed(recipe.seed, step)
        return replace(training_sampling(recipe, train_settings(recipe), samples=samples, seed=seed), logprobs=True)

    def _remembered(self, trainer: Any, step: int) -> Problems:
        """Return what was seen before this step, in a resumed run by the one that it goes on with."""
        if self._problems is None:
            job = self._job
            self._problems = Problems(len(job.train_problems), job.recipe.seed, job.recipe.rollout.retire)
            looks = read_looks(job.run, until=step - 1)
            for look in looks:
                self._problems.add(look)
            trainer.accelerator.wait_for_everyone()
            if trainer.is_world_process_zero():
                write_looks(job.run, looks)
        return self._problems


def step_seed(seed: int, step: int) -> int:
    """Return the seed of all that a step draws, so that a resumed run draws the same and each step draws anew."""
    return int.from_bytes(hashlib.sha256(f"{seed} {step}".encode()).digest()[:6], "big")
