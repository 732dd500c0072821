"""A trainer that goes on from a checkpoint logs what the uninterrupted one logs, to the last digit, in every stage."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from posttrain.runs import checkpoints
from posttrain.runs.whole import why_not_whole

pytestmark = pytest.mark.slow

LORA = ("model.lora={r: 4, alpha: 8, dropout: 0.1}", "train.logging_steps=3", "train.max_steps=7", "train.save_steps=2")
BATCH = ("train.per_device_train_batch_size=4", "train.gradient_accumulation_steps=2", "data.train[0].limit=40")
# Completions are drawn for four steps each: a checkpoint lies between draws.
RLVR = (
    "train.per_device_train_batch_size=8",
    "train.gradient_accumulation_steps=1",
    "train.num_generations=4",
    "train.steps_per_generation=2",
    "train.num_iterations=2",
    "train.max_completion_length=24",
    "signal.problems=0",
)
TIMES = ("runtime", "per_second", "step_time", "loss_of_run", "total_flos")


def trainer_of(make_job, stage: str, *overrides: str) -> Any:
    job, _ = make_job(stage, "data.dev=null", "train.save_total_limit=null", *LORA, *overrides)
    return importlib.import_module(f"posttrain.stages.{stage}").make_trainer(job)


def logged(trainer: Any) -> list[dict[str, float]]:
    """What was logged, without times and without the closing line, which is of one start alone."""
    return [
        {name: value for name, value in row.items() if not any(word in name for word in TIMES)}
        for row in trainer.state.log_history
        if "train_loss" not in row
    ]


@pytest.mark.parametrize(
    ("stage", "overrides"), [("sft", BATCH), ("dpo", BATCH), ("kto", BATCH), ("rlvr", (*RLVR, BATCH[-1]))]
)
def test_what_is_resumed_is_exact(make_job, tmp_path: Path, stage: str, overrides: tuple[str, ...]) -> None:
    whole, resumed = (trainer_of(make_job, stage, *overrides) for _ in range(2))
    whole.train()
    run = tmp_path / stage
    assert [checkpoints.step_of(path) for path in checkpoints.kept(run)] == [2, 4, 6, 7]
    assert all(why_not_whole(path) is None for path in checkpoints.kept(run))
    assert not list(run.rglob("training_args.bin"))
    resumed.train(resume_from_checkpoint=str(checkpoints.place_of(run, 2)))
    assert logged(resumed) == logged(whole)
    assert len(logged(whole)) == 2
    assert all(row["grad_norm"] > 0 for row in logged(whole))
    for ours, theirs in zip(resumed.model.parameters(), whole.model.parameters(), strict=True):
        assert ours.equal(theirs)


def test_nothing_is_trained_from_the_checkpoint_of_the_last_step(make_job, tmp_path: Path) -> None:
    whole, resumed = (trainer_of(make_job, "sft", *BATCH) for _ in range(2))
    whole.train()
    resumed.train(resume_from_checkpoint=str(checkpoints.newest(tmp_path / "sft")))
    assert resumed.state.global_step == 7
    for ours, theirs in zip(resumed.model.parameters(), whole.model.parameters(), strict=True):
        assert ours.equal(theirs)


def test_the_state_names_the_best_checkpoint_where_it_lies(make_job, tmp_path: Path) -> None:
    job, _ = make_job("sft", *LORA[:3], *BATCH, "eval.best_by=loss", "eval.every=2", "train.save_total_limit=1")
    trainer = importlib.import_module("posttrain.stages.sft").make_trainer(job)
    trainer.train()
    last = checkpoints.newest(tmp_path / "sft")
    assert last is not None
    best = json.loads((last / "trainer_state.json").read_text())["best_model_checkpoint"]
    assert Path(best).is_dir()
    assert {checkpoints.step_of(path) for path in checkpoints.kept(tmp_path / "sft")} == {
        checkpoints.step_of(last),
        trainer.state.best_global_step,
    }
