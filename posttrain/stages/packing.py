"""Packed rows in an SFT trainer: batches with position ids, and proof that the model keeps the rows apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from posttrain.errors import UserError

if TYPE_CHECKING:
    import torch

    Batch = dict[str, torch.Tensor]

# Of the largest logit, by how much the same row may differ: other shapes round otherwise.
_SINGLE = 1e-3
_HALF = 2e-2


class Packing:
    """A mixin for TRL's SFTTrainer: counts the tokens of packs, which TRL takes for one sequence."""

    def compute_loss(self: Any, model, inputs, return_outputs=False, num_items_in_batch=None):
        before = self._total_train_tokens
        loss = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)  # type: ignore[misc]  # TRL's
        if "position_ids" in inputs and self.model.training:
            positions = inputs["position_ids"]  # a row has one 1, and a 0 that padding has too
            tokens = (positions > 0).sum() + (positions == 1).sum()
            self._total_train_tokens = before + self.accelerator.gather_for_metrics(tokens).sum().item()
            self._metrics["train"]["num_tokens"] = [self._total_train_tokens]
        return loss


def use_packs(trainer: Any) -> None:
    """Have `trainer`, TRL's with ``packing``, collate packs for its attention, and try the model before it starts.

    TRL puts all packs of a batch behind each other in one sequence, as flash attention wants them. Other attentions
    would pay for that sequence's square: they get one pack a row.
    """
    attention = trainer.model.config._attn_implementation
    if "flash" not in attention:
        pad, multiple = trainer.processing_class.pad_token_id, trainer.args.pad_to_multiple_of
        trainer.data_collator = partial(collate, pad_token_id=pad, pad_to_multiple_of=multiple)
    trainer.add_callback(RowsApart(trainer))


def collate(
    packs: Sequence[Mapping[str, list[int]]], *, pad_token_id: int, pad_to_multiple_of: int | None = None
) -> Batch:
    """Return a batch with a pack in each row, or a row that is alone: ``input_ids``, ``labels``, ``position_ids``.

    There is no ``attention_mask``: without one transformers separates rows where positions do not go on, and
    padding, all of position 0, from everything.
    """
    import torch
    from trl.trainer.utils import pad

    lengths = [pack.get("seq_lengths") or [len(pack["input_ids"])] for pack in packs]
    columns = {
        "input_ids": ([torch.tensor(pack["input_ids"]) for pack in packs], pad_token_id),
        "labels": ([torch.tensor(pack["labels"]) for pack in packs], -100),
        "position_ids": ([torch.cat([torch.arange(length) for length in each]) for each in lengths], 0),
    }
    batch = {
        name: pad(tensors, padding_value=value, padding_side="right", pad_to_multiple_of=pad_to_multiple_of)
        for name, (tensors, value) in columns.items()
    }
    batch["labels"][batch["position_ids"] == 0] = -100  # a first token follows on nothing
    return batch


class RowsApart(TrainerCallback):
    """Refuses, before the first step, a model that does not compute a row in a pack as it does alone."""

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer

    def on_train_begin(self, args, state, control, **_: Any):
        import torch

        trainer, model = self.trainer, self.trainer.model_wrapped

        def logits(batch: Mapping[str, Any]) -> torch.Tensor:
            inputs = {name: value for name, value in trainer._prepare_inputs(batch).items() if name != "labels"}
            with torch.no_grad(), trainer.compute_loss_context_manager():
                return model(**inputs).logits[0].float().cpu()

        config, half = trainer.model.config, args.bf16 or args.fp16 or trainer.model.dtype != torch.float32
        model.eval()
        why = why_not_apart(
            logits, trainer.data_collator, config.get_text_config().vocab_size, _HALF if half else _SINGLE
        )
        model.train()
        if why:
            raise UserError(
                f"rows cannot be packed: {why} ({config.model_type}, attention {config._attn_implementation})",
                where="train.packing",
                fix="leave it out; `train_sampling_strategy: group_by_length` saves padding too",
            )


def why_not_apart(
    logits: Callable[[Batch], torch.Tensor], collate: Callable[..., Batch], vocabulary: int, tolerance: float
) -> str | None:
    """Return what a row's logits depend on that they must not, or None. `logits` are of a batch's first row."""
    import torch

    generator = torch.Generator().manual_seed(0)
    before, other, row = (torch.randint(vocabulary, (n,), generator=generator).tolist() for n in (7, 7, 9))

    def of_row(*rows: list[int]) -> torch.Tensor:
        ids = [token for ids in rows for token in ids]
        pack = {"input_ids": ids, "labels": ids, "seq_lengths": [len(ids) for ids in rows]}
        return logits(collate([pack]))[len(ids) - len(row) : len(ids)]

    try:
        packed, behind_other, alone = of_row(before, row), of_row(other, row), of_row(row)
    except TypeError as error:  # a model without the keyword
        return f"the model takes no position ids ({error})"
    allowed = tolerance * alone.abs().max()
    if (packed - behind_other).abs().max() > allowed:
        return "the model lets a row see the one before it"
    if (packed - alone).abs().max() > allowed:
        return "the model does not count a row's positions from its own start"
    return None
