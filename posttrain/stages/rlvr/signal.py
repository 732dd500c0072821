"""The look before the first step: is there anything to learn?"""

from __future__ import annotations

from typing import Any

from posttrain.engines.sampling import not_sampled, training_sampling
from posttrain.errors import GateError
from posttrain.evals.held_out import prompts_of
from posttrain.evals.signal import signal_of
from posttrain.evals.summary import summarize
from posttrain.stages.arguments import train_settings
from posttrain.stages.job import Job
from posttrain.stages.look import sampled
from posttrain.stages.terminal import say


def signal_gate(trainer: Any, job: Job) -> Any:
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
