"""What DPO and KTO share: a reference that is the parent model."""

from __future__ import annotations

from typing import Any

from posttrain.stages.flat import train_flat
from posttrain.stages.job import Job
from posttrain.stages.reference import add_reference, is_computed_beforehand


def make_preference_trainer(trainer_class: Any, job: Job) -> Any:
    """Return `trainer_class`, TRL's DPO or KTO trainer, with the parent as its reference.

    Its log-probabilities are computed before the first step or found in the cache (`stages/reference.py`). Where they
    are not, the reference is with LoRA the same model with the adapter off, and else a second copy of the parent: left
    alone TRL would load whatever ``config._name_or_path`` names.
    """
    from posttrain.model.load import load_reference

    beforehand = is_computed_beforehand(job)
    job.arguments.precompute_ref_log_probs = beforehand
    keeps_reference = job.peft_config is None and not beforehand
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
    if beforehand:
        add_reference(trainer, job)
    return trainer
