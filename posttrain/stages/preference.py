"""What DPO and KTO share: a reference that is the parent model."""

from __future__ import annotations

from typing import Any

from posttrain.stages.flat import train_flat
from posttrain.stages.job import Job
from posttrain.stages.terminal import say


def make_preference_trainer(trainer_class: Any, job: Job) -> Any:
    """Return `trainer_class`, TRL's DPO or KTO trainer, with the parent as its reference.

    With LoRA the reference is the same model with the adapter off. In full fine-tuning TRL either computes the
    reference log-probabilities before the first step (``precompute_ref_log_probs``, our default in one process) or
    is given a second copy of the parent: left alone it would load whatever ``config._name_or_path`` names.
    """
    from posttrain.model.load import load_reference

    keeps_reference = job.peft_config is None and not job.arguments.precompute_ref_log_probs
    if job.arguments.precompute_ref_log_probs:
        say("computing the reference's log-probabilities, once")
    trainer = trainer_class(
        model=job.model,
        ref_model=load_reference(job.parent, job.recipe.model) if keeps_reference else None,
        args=job.arguments,
        train_dataset=job.train_dataset,
        eval_dataset=job.eval_dataset,
        processing_class=job.tokenizer,
        peft_config=job.peft_config,
    )
    train_flat(trainer, job)
    return trainer
