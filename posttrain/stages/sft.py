"""Supervised fine-tuning: imitate the assistant turns."""

from __future__ import annotations

from typing import Any

from posttrain.stages.job import Job


def make_trainer(job: Job) -> Any:
    """Return a plain TRL SFTTrainer over rows that already carry ``input_ids`` and ``labels``."""
    from trl import SFTTrainer

    return SFTTrainer(
        model=job.model,
        args=job.arguments,
        train_dataset=job.train_dataset,
        eval_dataset=job.dev_dataset,
        processing_class=job.tokenizer,
        peft_config=job.peft_config,
    )
