"""A loss that is no number, put into real training: the weights never hold it, and it is said whose it was."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from posttrain.errors import UserError  # noqa: E402
from posttrain.runs.metrics import read_rows  # noqa: E402
from posttrain.stages import alarms, nonfinite  # noqa: E402

pytestmark = pytest.mark.slow

ROWS = "/quickstart/data/"
SMALL = {
    "sft": ("data.train[0].limit=48", "train.per_device_train_batch_size=4", "train.gradient_accumulation_steps=2"),
    "dpo": ("data.train[0].limit=48", "train.per_device_train_batch_size=4"),
    "kto": ("data.train[0].limit=48", "train.per_device_train_batch_size=4"),
    "rlvr": (
        "data.train[0].limit=8",
        "train.per_device_train_batch_size=16",
        "train.num_generations=4",
        "train.max_completion_length=16",
        "signal.problems=0",
    ),
}


def trainer_of(make_job, stage: str, *settings: str) -> tuple[Any, Any]:
    """The stage's trainer with what follows a run, for a few steps without looks and with a checkpoint at each."""
    import importlib

    from posttrain.stages.watch import MetricsWriter

    job, _ = make_job(stage, *SMALL[stage], "train.max_steps=4", "train.save_total_limit=9", *settings)
    job.arguments.eval_strategy, job.arguments.eval_on_start = "no", False
    job.arguments.save_steps = 1
    trainer = importlib.import_module(f"posttrain.stages.{stage}").make_trainer(job)
    for callback in (
        MetricsWriter(job.run / "metrics.jsonl", 0.0),
        alarms.Alarmed(job.recipe, job.run),
        nonfinite.WholeWeights(trainer, job.parent.name),
    ):
        trainer.add_callback(callback)
    return trainer, job


def spoil(trainer: Any, parts: set[int]) -> list[Any]:
    """Have the loss of these parts of batches, counted from 0, be NaN; return what they are of, as they come."""
    from itertools import count

    number, plain, spoilt = count(), trainer.compute_loss, []

    def compute_loss(model, inputs, *args, **kwargs):
        loss = plain(model, inputs, *args, **kwargs)
        if next(number) in parts:
            spoilt.append(inputs)
            return loss * float("nan")
        return loss

    trainer.compute_loss = compute_loss
    return spoilt


def weights(model: Any) -> dict[str, Any]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def equal(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def recorded(trainer: Any) -> dict[int, dict[str, Any]]:
    """Have the weights after each step kept."""
    from transformers import TrainerCallback

    found = {0: weights(trainer.model)}

    class Recorder(TrainerCallback):
        def on_step_end(self, args, state, control, **_: Any):
            found[state.global_step] = weights(trainer.model)

    trainer.add_callback(Recorder())
    return found


def test_a_skipped_step_leaves_the_weights_bit_for_bit(make_job, capsys) -> None:
    trainer, job = trainer_of(make_job, "sft", "alarms.nonfinite=skip", "train.logging_steps=2")
    spoil(trainer, {5})  # the second half of step 3
    after = recorded(trainer)
    trainer.train()
    assert equal(after[2], after[3])
    assert not equal(after[1], after[2]) and not equal(after[3], after[4])
    assert all(tensor.isfinite().all() for tensor in after[4].values())
    first, second = read_rows(job.run / "metrics.jsonl")
    assert "skipped_steps" not in first and second["skipped_steps"] == 1
    assert 0.1 < second["loss"] < 1.0  # step 4's own, though the mean was to be of two
    (row,) = alarms.rung(job.run)
    assert (row["step"], row["alarm"]) == (3, "nonfinite")
    assert "warning: step 3 is left out: the loss is no number" in capsys.readouterr().err


def test_the_optimizer_knows_nothing_of_a_skipped_step(make_job) -> None:
    trainer, _ = trainer_of(make_job, "sft", "alarms.nonfinite=skip")
    spoil(trainer, {4})
    trainer.train()
    states = trainer.optimizer.optimizer.state.values()
    assert {int(state["step"]) for state in states} == {3}


def test_a_stop_comes_before_the_weights_and_leaves_a_checkpoint_of_them(make_job) -> None:
    from transformers import AutoModelForCausalLM

    trainer, job = trainer_of(make_job, "sft")
    spoilt, after = spoil(trainer, {5}), recorded(trainer)
    with pytest.raises(
        UserError, match=r"step 3: the loss is no number; .* weights are those of step 2.*of step 2"
    ) as stop:
        trainer.train()
    assert stop.value.exit_code == 2
    assert sorted(after) == [0, 1, 2] and equal(weights(trainer.model), after[2])
    saved = sorted((job.run / "checkpoints").glob("checkpoint-*"))
    assert [path.name for path in saved] == ["checkpoint-1", "checkpoint-2"]
    assert equal(weights(AutoModelForCausalLM.from_pretrained(saved[-1], dtype=torch.float32)), after[2])
    # The rows that are named are those of the half batch whose loss it was, and no others.
    named = re.findall(r"sft\.jsonl:(\d+)", stop.value.message)
    texts = job.tokenizer.batch_decode(spoilt[0]["input_ids"])
    lines = Path(stop.value.message.split("its rows: ")[1].split(":")[0]).read_text().splitlines()
    assert len(named) == 4
    for number in named:
        said = re.findall(r'"content": "([^"\\]*)', lines[int(number) - 1])
        assert any(all(part in text for part in said) for text in texts)


@pytest.mark.parametrize("stage", ["dpo", "kto", "rlvr"])
def test_every_stage_stops_and_names_its_rows(make_job, stage: str) -> None:
    trainer, _ = trainer_of(make_job, stage)
    spoil(trainer, {1})
    before = recorded(trainer)
    with pytest.raises(UserError, match="step 2: the loss is no number") as stop:
        trainer.train()
    assert equal(weights(trainer.model), before[1])
    named = re.findall(r"(\w+)\.jsonl:\d+", stop.value.message)
    assert len(named) == 4
    assert set(named) == {{"dpo": "preferences", "kto": "feedback", "rlvr": "problems"}[stage]}


def test_skipping_has_an_end(make_job) -> None:
    trainer, _ = trainer_of(make_job, "dpo", "alarms.nonfinite=skip", "alarms.max_skipped=2")
    spoil(trainer, {0, 2, 3})
    with pytest.raises(UserError, match=r"step 4: the loss is no number \(2 steps in a row\)"):
        trainer.train()


def test_a_gradient_that_is_no_number_under_a_loss_that_is(make_job) -> None:
    """The parameter of DPO's loss so large that its gradient overflows where the loss does not."""
    trainer, _ = trainer_of(make_job, "dpo", "train.beta=1e38")
    before = weights(trainer.model)
    with pytest.raises(UserError, match=r"step 1: the gradient's norm is no number; .* no checkpoint is saved yet"):
        trainer.train()
    assert equal(weights(trainer.model), before)


def test_weights_that_are_no_numbers_are_neither_trained_nor_saved(make_job) -> None:
    trainer, job = trainer_of(make_job, "sft")
    name, weight = list(trainer.model.named_parameters())[3]
    whole = weight.data.clone()
    weight.data.view(-1)[7] = float("inf")
    with pytest.raises(UserError, match=re.escape(f"cannot be trained: {name} holds NaN or infinity")):
        trainer.train()
    with pytest.raises(UserError, match=f"nothing is saved, since {re.escape(name)}"):
        trainer._save_checkpoint(trainer.model, None)
    assert list((job.run / "checkpoints").iterdir()) == []
    weight.data.copy_(whole)
    assert nonfinite.nonfinite_weight(trainer) == ""
