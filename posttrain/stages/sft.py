"""Supervised fine-tuning: imitate the assistant turns."""

from __future__ import annotations

from typing import Any

from posttrain.data.packing import pack
from posttrain.stages.flat import train_flat
from posttrain.stages.job import Job
from posttrain.stages.look import looking
from posttrain.stages.nonfinite import guarding
from posttrain.stages.order import ByLength
from posttrain.stages.packing import Packing, use_packs
from posttrain.stages.saving import saving
from posttrain.stages.terminal import say


def make_trainer(job: Job) -> Any:
    """Return a TRL SFTTrainer over rows, or packs of rows, that already carry ``input_ids`` and ``labels``."""
    from trl import SFTTrainer

    class Trainer(guarding(job), saving(job), looking(job), Packing, ByLength, SFTTrainer):  # type: ignore[misc]  # mixins made for this job
        """SFTTrainer that also samples held-out problems."""

    args = job.arguments
    train, dev = job.train_dataset, job.eval_dataset
    if args.packing:
        train, said = pack(train, args.max_length)
        say(f"train: {said}")
    if args.eval_packing and job.dev_dataset is not None:
        dev, said = pack(dev, args.max_length)
        say(f"dev: {said}")
    trainer = Trainer(
        model=job.model,
        args=args,
        train_dataset=train,
        eval_dataset=dev,
        processing_class=job.tokenizer,
        peft_config=job.peft_config,
    )
    if args.packing:
        use_packs(trainer)
    train_flat(trainer, job)
    return trainer
