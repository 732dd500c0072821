"""Kahneman-Tversky optimization (arXiv 2402.01306): learn from thumbs up and thumbs down."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from posttrain.errors import UserError
from posttrain.stages.job import Job
from posttrain.stages.look import looking
from posttrain.stages.nonfinite import guarding
from posttrain.stages.order import ByLength
from posttrain.stages.preference import make_preference_trainer
from posttrain.stages.reference import Beforehand
from posttrain.stages.saving import saving

if TYPE_CHECKING:
    import pyarrow as pa


def spread_labels(rows: pa.Table) -> pa.Table:
    """Return the rows with their labels spread evenly, each label's rows in the order they came.

    KTO reads the rows in order (its KL term pairs neighbours), so an unlucky order would give batches of one
    label only.
    """
    up = rows["label"].to_numpy().astype(bool)
    placed = np.empty(len(up))
    for mine in (up, ~up):
        placed[mine] = (np.arange(mine.sum()) + 0.5) / mine.sum()
    return rows.take(np.lexsort((~up, placed)))


def add_kl_completions(rows: pa.Table, batch_size: int) -> pa.Table:
    """Return the rows with ``KL_completion_ids``: within each batch, the completion of the row before.

    These mismatched pairs estimate the reference point z_0 (Eq. 7 of arXiv 2402.01306). As in TRL, the last
    batch may be short; a batch of one row would be paired with itself and is left out. Raises UserError when
    nothing is left.
    """
    kept = 0 if batch_size == 1 else len(rows) - (len(rows) % batch_size == 1)
    if not kept:
        raise UserError(
            "KTO pairs each row with its neighbour and needs at least 2 rows, held-out ones too",
            where="data",
            fix="hold out a larger fraction, or none",
        )
    number = np.arange(kept)
    first = number - number % batch_size
    before = np.where(number == first, np.minimum(first + batch_size, kept) - 1, number - 1)
    return rows.slice(0, kept).append_column("KL_completion_ids", rows["completion_ids"].take(before))


def make_trainer(job: Job) -> Any:
    """Return a TRL KTOTrainer whose reference is the parent model and whose labels are balanced."""
    from datasets import Dataset
    from trl import KTOTrainer

    class Trainer(guarding(job), saving(job), looking(job), ByLength, Beforehand, KTOTrainer):  # type: ignore[misc]  # mixins made for this job
        """KTOTrainer over rows that are tokenized already, that also samples held-out problems."""

        def _prepare_dataset(self, dataset, processing_class, args, dataset_name):
            rows = spread_labels(dataset.with_format("arrow")[:])
            return Dataset(add_kl_completions(rows, args.per_device_train_batch_size) if self.calculate_KL else rows)

    return make_preference_trainer(Trainer, job)
