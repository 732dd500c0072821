"""Reinforcement learning with verifiable rewards: sample, grade, and reinforce what beats its group (GRPO,
arXiv 2402.03300, with TRL's variations under their own names)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from posttrain.data.records import Problem
from posttrain.engines.sampling import sampling_of
from posttrain.engines.transformers import engine
from posttrain.errors import UserError
from posttrain.evals.held_out import (
    Look,
    in_order,
    prompts_of,
    sample_and_grade,
    sample_row,
    summarize,
    write_samples,
)
from posttrain.graders import build_all, grade_all
from posttrain.runs import directory
from posttrain.stages.job import Job


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

    graders = build_all(job.recipe.graders, job.run)

    def graded(prompts, completion_ids, index, trainer_state, log_metric, **_) -> list[float | None]:
        """TRL's reward function: one score a completion, None where the grader failed (TRL leaves those out)."""
        texts = [job.tokenizer.decode(ids, skip_special_tokens=True) for ids in completion_ids]
        asked = [job.train_problems[i] for i in index]
        grades = grade_all(graders, texts, [problem.item for problem in asked])
        judged = [grade for grade in grades if not grade.error]
        if not judged:
            raise UserError(
                f"no completion of step {trainer_state.global_step + 1} could be graded: {grades[0].error}",
                where="graders",
                fix="try the grader alone with `posttrain grade`",
            )
        log_metric("pass@1", sum(grade.passed for grade in judged) / len(judged))
        log_metric("grader_errors", float(len(grades) - len(judged)))
        rows = [sample_row(problem, text, grade) for problem, text, grade in zip(asked, texts, grades, strict=True)]
        _append_samples(job.run, trainer_state.global_step + 1, job.arguments.process_index, rows)
        return [None if grade.error else grade.score for grade in grades]

    class Trainer(GRPOTrainer):
        """GRPOTrainer whose held-out look is pass@1 and pass@k by the recipe's graders, not a loss."""

        def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix="eval"):
            look = _look(self, job, graders)
            metrics = {f"{metric_key_prefix}_{key}": value for key, value in look.metrics().items()}
            model: Any = self.model
            was_training = model.training
            model.eval()  # TRL's log() tells train from held-out by the model's mode
            self.log(metrics)
            model.train(was_training)
            self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
            return metrics

    return Trainer(
        model=job.model,
        reward_funcs=[graded],
        args=job.arguments,
        train_dataset=job.train_dataset,
        eval_dataset=job.dev_dataset,
        processing_class=job.tokenizer,
        peft_config=job.peft_config,
    )


def _append_samples(run: Path, step: int, rank: int, rows: list[dict[str, Any]]) -> None:
    """Keep the step's completions; each rank writes its own share."""
    with (run / directory.SAMPLES / f"train-{step:06d}-rank{rank}.jsonl").open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _look(trainer, job: Job, graders) -> Look:
    """Sample and grade the held-out problems with the policy as it is now; ranks share the problems out."""
    from accelerate.utils import gather_object
    from trl.models import unwrap_model_for_generation

    from posttrain.stages.watch import ProgressLine

    recipe, rank, world = job.recipe, trainer.accelerator.process_index, trainer.accelerator.num_processes
    prompt_ids = [row["prompt_ids"] for row in job.dev_dataset or ()]
    sampling = sampling_of(recipe, max_new_tokens=job.arguments.max_completion_length, seed=recipe.seed + rank)
    with unwrap_model_for_generation(
        trainer.model_wrapped,
        trainer.accelerator,
        gather_deepspeed3_params=trainer.args.ds3_gather_for_generation,
        gradient_checkpointing_kwargs=trainer.args.gradient_checkpointing_kwargs,
    ) as model:
        shown = next((c for c in trainer.callback_handler.callbacks if isinstance(c, ProgressLine)), None)
        problems = job.dev_problems[rank::world]
        prompts = prompts_of(problems, prompt_ids[rank::world])
        advance = shown.looking(len(prompts) * sampling.samples) if shown else None
        mine = in_order(sample_and_grade(engine(model, job.tokenizer), problems, prompts, graders, sampling), advance)
    everyone = gather_object(mine) if world > 1 else mine
    if rank == 0:
        write_samples(job.run / directory.SAMPLES / f"dev-{trainer.state.global_step:06d}.jsonl", everyone)
    return summarize(everyone, recipe.eval.k)
