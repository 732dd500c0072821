"""Kahneman-Tversky optimization (arXiv 2402.01306): learn from thumbs up and thumbs down."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from posttrain.errors import UserError
from posttrain.stages.job import Job, as_dataset
from posttrain.stages.look import looking
from posttrain.stages.order import ByLength
from posttrain.stages.preference import make_preference_trainer


def spread_labels(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows with their labels spread evenly, each label's rows in the order they came.

    KTO reads the rows in order (its KL term pairs neighbours), so an unlucky order would give batches of one
    label only.
    """
    by_label = [[row for row in rows if row["label"]], [row for row in rows if not row["label"]]]
    placed = [((i + 0.5) / len(group), row) for group in by_label for i, row in enumerate(group)]
    return [row for _, row in sorted(placed, key=lambda pair: pair[0])]


def add_kl_completions(rows: Sequence[dict[str, Any]], batch_size: int) -> list[dict[str, Any]]:
    """Return the rows with ``KL_completion_ids``: within each batch, the completion of the row before.

    These mismatched pairs estimate the reference point z_0 (Eq. 7 of arXiv 2402.01306). As in TRL, the last
    batch may be short; a batch of one row would be paired with itself and is left out. Raises UserError when
    nothing is left.
    """
    paired = []
    for start in range(0, len(rows), batch_size):
        batch = rows[start : start + batch_size]
        if len(batch) > 1:
            paired += [{**row, "KL_completion_ids": batch[i - 1]["completion_ids"]} for i, row in enumerate(batch)]
    if not paired:
        raise UserError(
            "KTO pairs each row with its neighbour and needs at least 2 rows, held-out ones too",
            where="data",
            fix="hold out a larger fraction, or none",
        )
    return paired


def make_trainer(job: Job) -> Any:
    """Return a TRL KTOTrainer whose reference is the parent model and whose labels are balanced."""
    from trl import KTOTrainer

    class Trainer(looking(job), ByLength, KTOTrainer):  # type: ignore[misc]  # a mixin made for this job
        """KTOTrainer over rows that are tokenized already, that also samples held-out problems."""

        def _prepare_dataset(self, dataset, processing_class, args, dataset_name):
            rows = spread_labels(list(dataset))
            return as_dataset(add_kl_completions(rows, args.per_device_train_batch_size) if self.calculate_KL else rows)

    return make_preference_trainer(Trainer, job)
