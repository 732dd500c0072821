"""Training rows in batches of about one length (`train_sampling_strategy`), so that little of a batch is padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from posttrain.data.packing import row_lengths


class ByLength:
    """A mixin for TRL's trainers that tells transformers' samplers how long the rows are.

    Left alone transformers would read every row to know, and knows only ``input_ids``: the column of lengths that it
    documents is removed before it is looked for. Held-out rows keep their order, whatever that of training.
    """

    def _get_train_sampler(self: Any, train_dataset=None):
        from datasets import Dataset

        args = self.args
        if args.train_sampling_strategy not in ("group_by_length", "batch_rebalance"):
            return super()._get_train_sampler(train_dataset)  # type: ignore[misc]  # the trainer's
        lengths = row_lengths(self.train_dataset).clip(max=args.max_length)
        if args.train_sampling_strategy == "group_by_length":
            # The rows of a step, so that a run that goes on with other processes keeps its order.
            step = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
            return LengthOrder(lengths.tolist(), step, args.seed)
        measured = Dataset.from_dict({args.length_column_name: lengths})
        return super()._get_train_sampler(measured)  # type: ignore[misc]  # the trainer's

    def _get_eval_sampler(self: Any, eval_dataset):
        from torch.utils.data import SequentialSampler

        return SequentialSampler(eval_dataset) if self.args.world_size <= 1 else None


class LengthOrder:
    """transformers' order of rows by length, drawn anew each epoch, and the same in a run that is resumed."""

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self.lengths, self.batch_size, self.seed, self.epoch = lengths, batch_size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        import torch
        from transformers.trainer_pt_utils import get_length_grouped_indices

        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        return iter(get_length_grouped_indices(self.lengths, self.batch_size, generator=generator))
