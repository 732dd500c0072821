"""Supervised fine-tuning: imitate the assistant turns."""

from __future__ import annotations

from typing import Any

from posttrain.stages.job import Job
from posttrain.stages.look import looking


def make_trainer(job: Job) -> Any:
    """Return a TRL SFTTrainer over rows that already carry ``input_ids`` and ``labels``."""
    from trl import SFTTrainer

    class Trainer(looking(job), SFTTrainer):  # type: ignore[misc]  # a mixin made for this job
        """SFTTrainer that also samples held-out problems."""

    return Trainer(
        model=job.model,
        args=job.arguments,
        train_dataset=job.train_dataset,
        eval_dataset=job.eval_dataset,
        processing_class=job.tokenizer,
        peft_config=job.peft_config,
    )
