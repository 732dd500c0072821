"""Reinforcement learning with verifiable rewards: sample, grade, and reinforce what beats its group (GRPO,
arXiv 2402.03300, with TRL's variations under their own names)."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from posttrain.data.records import Problem
from posttrain.engines.sampling import Completion, not_sampled, training_sampling
from posttrain.errors import GateError, UserError
from posttrain.evals.held_out import prompts_of
from posttrain.evals.kept import sample_row
from posttrain.evals.signal import signal_of
from posttrain.evals.summary import Graded, refuse_errors, summarize
from posttrain.graders import Grade, grade_all, part_names
from posttrain.model.tokenizer import stop_token_ids
from posttrain.runs import directory
from posttrain.stages.arguments import train_settings
from posttrain.stages.flat import train_flat
from posttrain.stages.job import Job
from posttrain.stages.look import looking, sampled
from posttrain.stages.terminal import say

_RECENT_STEPS = 10
"""Steps over which the share of completions without a verdict is counted."""


def prompt_rows(problems: Sequence[Problem], prompt_ids: Sequence[list[int]]) -> list[dict[str, Any]]:
    """Return the rows of the trainer's data set: ``prompt`` (messages, which TRL renders), ``index`` of the
    problem for the reward, and ``prompt_ids`` for the held-out look.

    Raises UserError for a prompt that needs tools: TRL would render it without them.
    """
    for problem in problems:
        if problem.tools:
            raise UserError("rlvr cannot sample with tools", where=problem.place, fix="leave the row out")
    return [
        {
            "prompt": [{"role": turn["role"], "content": turn["content"]} for turn in problem.prompt],
            "index": i,
            "prompt_ids": ids,
        }
        for i, (problem, ids) in enumerate(zip(problems, prompt_ids, strict=True))
    ]


def make_trainer(job: Job) -> Any:
    """Return a TRL GRPOTrainer rewarded by the recipe's graders, whose `evaluate` samples the held-out problems."""
    from trl import GRPOTrainer

    recent: deque[tuple[int, int]] = deque(maxlen=_RECENT_STEPS)
    sizes = [k for k in job.recipe.eval.k if k <= job.arguments.num_generations]
    stops = set(stop_token_ids(job.tokenizer))

    def graded(prompts, completion_ids, index, trainer_state, log_metric, **_) -> list[float | None]:
        """TRL's reward function: one score a completion, None where the grader failed (TRL leaves those out)."""
        texts = [job.tokenizer.decode(ids, skip_special_tokens=True) for ids in completion_ids]
        asked = [job.train_problems[i] for i in index]
        grades = grade_all(job.graders, texts, [problem.item for problem in asked])
        failed = [grade.error for grade in grades if grade.error]
        recent.append((len(failed), len(grades)))
        if failed:
            errors, drawn = (sum(counts) for counts in zip(*recent, strict=True))
            refuse_errors(errors, drawn, job.recipe.rollout.max_grader_errors, failed[-1])
        completions = [
            Completion(text, len(ids), truncated=not stops.intersection(ids[-1:]))
            for text, ids in zip(texts, completion_ids, strict=True)
        ]
        rows = [sample_row(*row) for row in zip(asked, completions, grades, strict=True)]
        _append_samples(job.run, trainer_state.global_step + 1, job.arguments.process_index, rows)
        if len(failed) < len(grades):
            groups = _groups(index, asked, completions, grades)
            for name, found in summarize(groups, sizes, parts=part_names(job.graders)).figures.items():
                if name != "reward":  # TRL logs that
                    log_metric(name, found.mean)
        log_metric("grader_errors", float(len(failed)))
        return [None if grade.error else grade.score for grade in grades]

    class Trainer(looking(job), GRPOTrainer):  # type: ignore[misc]  # a mixin made for this job
        """GRPOTrainer whose held-out look is pass@1 and pass@k by the recipe's graders, not a loss."""

    trainer = Trainer(
        model=job.model,
        reward_funcs=[graded],
        args=job.arguments,
        train_dataset=job.train_dataset,
        eval_dataset=job.eval_dataset,
        processing_class=job.tokenizer,
        peft_config=job.peft_config,
    )
    train_flat(trainer, job)
    trainer.add_callback(_signal_gate(trainer, job))
    return trainer


def _groups(
    index: Sequence[int], asked: Sequence[Problem], completions: Sequence[Completion], grades: Sequence[Grade]
) -> list[Graded]:
    """Return the completions by problem; `index` says whose each is, a problem's own side by side."""
    groups = []
    for _, members in groupby(range(len(index)), key=lambda i: index[i]):
        rows = list(members)
        groups.append(Graded(asked[rows[0]], [completions[i] for i in rows], [grades[i] for i in rows]))
    return groups


def _signal_gate(trainer: Any, job: Job) -> Any:
    """Return a callback that samples some training problems before the first step, and stops the run with GateError
    when all attempts at each problem get the same reward."""
    from transformers import TrainerCallback

    class SignalGate(TrainerCallback):
        def on_train_begin(self, args, state, control, **_: Any):
            problems = job.train_problems[: job.recipe.signal.problems]
            if state.global_step > 0 or not problems:
                return
            prompts = prompts_of(problems, job.train_dataset["prompt_ids"][: len(problems)])
            settings = train_settings(job.recipe)
            sampling = training_sampling(job.recipe, settings, samples=args.num_generations, seed=job.recipe.seed)
            for note in not_sampled(settings):
                say(f"signal: {note}")
            say(f"signal: {len(problems)} training problems, {sampling.samples} attempts each")
            graded = sampled(trainer, job, problems, prompts, sampling)
            summarize(graded, [1])  # refuses a look without any verdict
            found = signal_of(graded, args.num_generations)
            if found.nothing_to_learn:
                raise GateError(
                    found.advice,
                    where="no signal",
                    fix="`posttrain signal` looks at all training problems; --set signal.problems=0 starts regardless",
                )
            say(
                f"signal: pass@1 {found.mean_pass:.1%}, groups with equal rewards {found.zero_variance:.0%}: "
                f"{found.advice}"
            )

    return SignalGate()


def _append_samples(run: Path, step: int, rank: int, rows: list[dict[str, Any]]) -> None:
    """Keep the step's completions; each rank writes its own share."""
    with (run / directory.SAMPLES / f"train-{step:06d}-rank{rank}.jsonl").open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
