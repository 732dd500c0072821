"""Rows in batches of about one length: in each stage that allows it, the same again when a run resumes."""

from __future__ import annotations

from typing import Any

import pytest

from posttrain.stages.order import LengthOrder

SMALL = ("train.per_device_train_batch_size=8", "train.gradient_accumulation_steps=1")


def test_each_epoch_has_every_row_in_an_order_of_its_own_and_a_resumed_one_the_same() -> None:
    order = LengthOrder([3, 1, 4, 1, 5, 9, 2, 6] * 8, 4, seed=5)
    first = list(order)
    order.set_epoch(1)
    assert sorted(first) == sorted(order) == list(range(64))
    assert first != list(order)
    again = LengthOrder(order.lengths, 4, seed=5)
    again.set_epoch(1)
    assert list(again) == list(order)


def padding(trainer: Any) -> float:
    """The share of the batches' places that hold no token."""
    masks = [batch["attention_mask"] for batch in trainer.get_train_dataloader()]
    return 1 - sum(mask.sum().item() for mask in masks) / sum(mask.numel() for mask in masks)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["group_by_length", "batch_rebalance"])
@pytest.mark.parametrize("stage", ["sft", "dpo"])
def test_sorting_saves_padding_and_leaves_out_no_row(make_job, stage: str, strategy: str) -> None:
    import importlib

    make_trainer = importlib.import_module(f"posttrain.stages.{stage}").make_trainer
    settings = ("data.train[0].limit=320", *SMALL)
    settings += ("train.precompute_ref_log_probs=false",) if stage == "dpo" else ()
    found = []
    for order in ("random", strategy):
        trainer = make_trainer(make_job(stage, *settings, f"train.train_sampling_strategy={order}")[0])
        found.append(padding(trainer))
        seen = sum(len(batch["input_ids"]) for batch in trainer.get_train_dataloader())
        rows = len(trainer.train_dataset) * (2 if stage == "dpo" else 1)
        assert seen == rows if order == "random" else seen >= rows
        held_out = [batch["input_ids"].shape for batch in trainer.get_eval_dataloader()]
    assert found[1] < 0.7 * found[0] or strategy == "batch_rebalance"
    assert held_out


@pytest.mark.slow
def test_kto_without_a_kl_term_can_be_sorted(make_job) -> None:
    from posttrain.stages.kto import make_trainer

    settings = (*SMALL, "train.precompute_ref_log_probs=false", "train.loss_type=apo_zero_unpaired")
    shares = [
        padding(make_trainer(make_job("kto", *settings, f"train.train_sampling_strategy={order}")[0]))
        for order in ("sequential", "group_by_length")
    ]
    assert shares[1] < 0.7 * shares[0]


@pytest.mark.slow
@pytest.mark.parametrize("order", ["train.train_sampling_strategy=group_by_length", "train.packing=true"])
def test_a_resumed_run_sees_the_rows_that_it_would_have_seen(make_job, tmp_path, order: str) -> None:
    """Ten steps of about four an epoch, and the same stopped after the sixth."""
    from transformers import TrainerCallback

    from posttrain.stages.sft import make_trainer

    class StopAtSix(TrainerCallback):
        def on_step_end(self, args, state, control, **_: Any):
            control.should_save = control.should_training_stop = state.global_step == 6

    settings = ("data.train[0].limit=64", "data.dev=null", "train.max_steps=10", "train.max_length=256", order)
    settings += ("train.save_strategy=no",)  # the one checkpoint is that of the sixth step
    settings += (
        "train.per_device_train_batch_size=2" if "packing" in order else "train.per_device_train_batch_size=16",
    )
    settings += (
        "train.gradient_accumulation_steps=2" if "packing" in order else "train.gradient_accumulation_steps=1",
    )

    def trainer() -> Any:
        return make_trainer(make_job("sft", *settings)[0])

    def losses(trained: Any) -> list[float]:
        return [row["loss"] for row in trained.state.log_history if "loss" in row]

    whole, stopped, resumed = trainer(), trainer(), trainer()
    whole.train()
    stopped.add_callback(StopAtSix())
    stopped.train()
    assert len(losses(stopped)) == 6
    resumed.train(resume_from_checkpoint=str(tmp_path / "sft" / "checkpoints" / "checkpoint-6"))
    assert losses(resumed) == pytest.approx(losses(whole), abs=1e-5)
    assert len(losses(resumed)) == 10
