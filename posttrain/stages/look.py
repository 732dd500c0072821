"""The look at held-out problems from inside a trainer: sample, grade, count, whatever the stage trains by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from posttrain.data.records import Problem
from posttrain.engines.sampling import MAX_NEW_TOKENS, Prompt, Sampling, sampling_of
from posttrain.evals.held_out import in_order, sample_and_grade
from posttrain.evals.kept import write_samples
from posttrain.evals.summary import Graded, check_errors, summarize
from posttrain.graders import part_names
from posttrain.runs import directory
from posttrain.stages.job import Job
from posttrain.stages.sampler import sampler
from posttrain.stages.together import everyones, until_stopped


def looking(job: Job) -> type:
    """Return a mixin for TRL's trainers whose `evaluate` also takes a look at the job's problems, if it has any.

    The look's figures stand in one row with the held-out loss, where there are rows for one.
    """

    class Looking:
        def evaluate(self: Any, eval_dataset=None, ignore_keys=None, metric_key_prefix="eval"):
            found = take_look(self, job) if job.problems else {}
            if job.dev_dataset is not None:
                for name, value in found.items():
                    self._metrics["eval"][name].append(value)  # TRL's log() adds these to what it logs
                return super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)  # type: ignore[misc]  # the trainer's
            metrics = {f"{metric_key_prefix}_{name}": value for name, value in found.items()}
            was_training = self.model.training
            self.model.eval()  # TRL's log() tells train from held-out by the model's mode
            self.log(metrics)
            self.model.train(was_training)
            self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
            return metrics

    return Looking


def take_look(trainer: Any, job: Job) -> dict[str, float]:
    """Sample and grade the held-out problems with the model as it is now, keep them, and return the figures."""
    rank = trainer.accelerator.process_index
    longest = getattr(job.arguments, "max_completion_length", None) or MAX_NEW_TOKENS
    sampling = sampling_of(job.recipe, max_new_tokens=longest, seed=job.recipe.seed)
    graded = sampled(trainer, job, job.problems, job.prompts, sampling)
    if rank == 0:
        write_samples(job.run / directory.SAMPLES / f"dev-{trainer.state.global_step:06d}.jsonl", graded)
    look = job.recipe.eval
    return summarize(graded, look.k, parts=part_names(job.graders), group_by=look.group_by).metrics()


def sampled(
    trainer: Any, job: Job, problems: Sequence[Problem], prompts: Sequence[Prompt], sampling: Sampling
) -> list[Graded]:
    """Return the problems with completions of the model as it is now and their grades, in every rank; the ranks
    share the problems out."""
    from posttrain.stages.watch import ProgressLine

    rank, world = trainer.accelerator.process_index, trainer.accelerator.num_processes
    with sampler(trainer, job) as sample:
        shown = next((c for c in trainer.callback_handler.callbacks if isinstance(c, ProgressLine)), None)
        mine, asked = problems[rank::world], prompts[rank::world]
        advance = shown.looking(len(asked) * sampling.samples) if shown else None
        graded = until_stopped(lambda: in_order(sample_and_grade(sample, mine, asked, job.graders, sampling), advance))
    everyone = everyones(graded)
    # All ranks at once: one that left alone would leave the others waiting.
    check_errors(everyone, job.recipe.rollout.max_grader_errors)
    return everyone
