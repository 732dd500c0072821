"""TRL's GRPO trainer, which draws by our engine and spends nothing on rows that teach nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from posttrain.data.records import Problem
from posttrain.errors import UserError
from posttrain.stages.arguments import train_settings
from posttrain.stages.drawing import engine_line, why_trl
from posttrain.stages.flat import train_flat
from posttrain.stages.job import Job
from posttrain.stages.look import looking
from posttrain.stages.nonfinite import guarding
from posttrain.stages.rlvr.mismatch import ANOTHER_MODEL, log_difference, with_sampler_as_old
from posttrain.stages.rlvr.rewards import keeper, reward_of
from posttrain.stages.rlvr.rollouts import Drawn, Rollouts
from posttrain.stages.rlvr.signal import signal_gate
from posttrain.stages.rlvr.skip import counting, only, share, why_all_rows
from posttrain.stages.saving import saving
from posttrain.stages.terminal import say


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

    args, size = job.arguments, job.arguments.num_generations
    by_trl = why_trl(train_settings(job.recipe), args.per_device_train_batch_size * args.steps_per_generation)
    rollouts, keep = Rollouts(job), keeper(job)
    furthest = ANOTHER_MODEL if job.policy else None  # an engine with weights of its own may have the wrong ones

    class Trainer(guarding(job), saving(job), looking(job), GRPOTrainer):  # type: ignore[misc]  # mixins made for this job
        """GRPOTrainer whose held-out look is pass@1 and pass@k by the recipe's graders, not a loss; whose completions
        are drawn and graded before it asks for them; and that runs the model on the rows alone that move it."""

        def _generate_and_score_completions(self, inputs):
            if by_trl:
                return super()._generate_and_score_completions(inputs)
            drawn = rollouts.draw(self, [row["index"] for row in inputs[::size]])
            keep(self.state.global_step + 1, drawn.groups, self._log_metric)
            for name, value in _figures(drawn).items():
                self._log_metric(name, value)
            rows = [job.train_dataset[look.index] for look, _ in drawn.batch]
            batch = super()._generate_and_score_completions([dict(row) for row in rows for _ in range(size)])
            for i, (look, _) in enumerate(drawn.batch):
                if not look.varied:
                    batch["advantages"][i * size : (i + 1) * size] = 0  # TRL leaves a rounding error, made larger
            if "old_per_token_logps" in batch:
                log_difference(self, batch, batch["old_per_token_logps"], limit=furthest)
            return with_sampler_as_old(self, batch)

        def places_of(self, inputs):
            indices = [row["index"] for row in inputs] if by_trl else rollouts.indices
            return [job.train_problems[index].place for index in indices]

        def _get_per_token_logps_and_entropies(self, *args, **kwargs):
            found = super()._get_per_token_logps_and_entropies(*args, **kwargs)
            self._last_logps = found[0].detach()
            return found

        def _compute_loss(self, model, inputs):
            kept, part = (inputs, 1.0) if all_rows else self._moving(inputs)
            loss = super()._compute_loss(model, kept) * part
            if "sampling_per_token_logps" in kept and not off_policy:
                log_difference(self, kept, self._last_logps, limit=furthest)
            return loss

        def _moving(self, inputs):
            """Return the rows of a batch that move the model, and what their loss is multiplied by to be the
            batch's."""
            counts = counting(inputs)
            most = int(self.accelerator.gather(counts.sum()[None]).max())  # ranks go through the model in step
            kept = only(inputs, counts, max(most, 1), trim=self.pad_to_multiple_of is None)
            self._metrics["train"]["rollout/skipped"].append(1 - len(kept["advantages"]) / len(counts))
            return kept, share(inputs, kept, self.loss_type)

    trainer: Any = Trainer(
        model=job.model,
        reward_funcs=[reward_of(job)],
        args=args,
        train_dataset=job.train_dataset,
        eval_dataset=job.eval_dataset,
        processing_class=job.tokenizer,
        peft_config=job.peft_config,
        rollout_func=None if by_trl else rollouts.hand_out,
    )
    train_flat(trainer, job)
    all_rows = why_all_rows(trainer)
    # As TRL has it: weights move between a completion's first use and its last.
    off_policy = args.gradient_accumulation_steps % (args.steps_per_generation * args.num_iterations) != 0
    say(f"rollouts: TRL's generate: {by_trl}" if by_trl else engine_line(job.recipe))
    if all_rows:
        say(f"groups with equal rewards cost as much as others: {all_rows}")
    trainer.add_callback(signal_gate(trainer, job))
    return trainer


def _figures(drawn: Drawn) -> dict[str, float]:
    """Return what a step drew, of all ranks: see docs/rlvr.md."""
    filled = drawn.filled
    return {
        "rollout/equal_rewards": sum(not look.varied for look in filled.final) / len(filled.final),
        "rollout/replaced": filled.replaced / len(filled.final),
        "rollout/rested": filled.rested / len(filled.final),
        "rollout/samples": float(sum(look.samples for look in filled.looks)),
        "rollout/resting_solved": float(drawn.resting[0]),
        "rollout/resting_unsolved": float(drawn.resting[1]),
    }
