"""Direct preference optimization (arXiv 2305.18290): raise the chosen answer over the rejected one."""

from __future__ import annotations

from posttrain.stages.job import Job


def make_trainer(job: Job):
    """Return a TRL DPOTrainer whose reference is the parent model.

    With LoRA the reference is the same model with the adapter off. In full fine-tuning TRL either computes the
    reference log-probabilities before the first step (``precompute_ref_log_probs``, our default) or is given a
    second copy of the parent: left alone it would load whatever ``config._name_or_path`` names.
    """
    from trl import DPOTrainer

    from posttrain.model.load import load_reference

    class Trainer(DPOTrainer):
        """DPOTrainer over rows that are tokenized already."""

        def _prepare_dataset(self, dataset, *args, **kwargs):
            return dataset

    keeps_reference = job.peft_config is None and not job.arguments.precompute_ref_log_probs
    return Trainer(
        model=job.model,
        ref_model=load_reference(job.parent, job.recipe.model) if keeps_reference else None,
        args=job.arguments,
        train_dataset=job.train_dataset,
        eval_dataset=job.dev_dataset,
        processing_class=job.tokenizer,
        peft_config=job.peft_config,
    )
