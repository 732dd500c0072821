"""Direct preference optimization (arXiv 2305.18290): raise the chosen answer over the rejected one."""

from __future__ import annotations

from typing import Any

from posttrain.stages.job import Job
from posttrain.stages.look import looking
from posttrain.stages.nonfinite import guarding
from posttrain.stages.order import ByLength
from posttrain.stages.preference import make_preference_trainer
from posttrain.stages.reference import Beforehand
from posttrain.stages.saving import saving


def make_trainer(job: Job) -> Any:
    """Return a TRL DPOTrainer whose reference is the parent model."""
    from trl import DPOTrainer

    class Trainer(guarding(job), saving(job), looking(job), ByLength, Beforehand, DPOTrainer):  # type: ignore[misc]  # mixins made for this job
        """DPOTrainer over rows that are tokenized already, that also samples held-out problems."""

        def _prepare_dataset(self, dataset, *args, **kwargs):
            return dataset

    return make_preference_trainer(Trainer, job)
