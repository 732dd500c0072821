"""RLVR by a judge that fails three times in ten: what it did not answer is counted and left out, by hand."""

from __future__ import annotations

import json
import math
from statistics import stdev
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from posttrain.errors import UserError  # noqa: E402
from posttrain.runs.metrics import read_rows  # noqa: E402
from posttrain.stages.rlvr import make_trainer  # noqa: E402
from posttrain.stages.watch import MetricsWriter  # noqa: E402

pytestmark = pytest.mark.slow

SMALL = (
    "train.num_generations=8",
    "train.per_device_train_batch_size=32",
    "train.max_completion_length=24",
    "train.max_steps=2",
    "data.train[0].limit=16",
    "signal.problems=0",
)


def judged_job(make_job, server: Any, *settings: str) -> Any:
    judge = {
        "type": "score_model",
        "base_url": server.base_url,
        "model": "m",
        "input": [{"role": "user", "content": "Score {{sample.output_text}} by {{item.answer}}"}],
        "max_retries": 0,
    }
    job, _ = make_job("rlvr", *SMALL, f"graders={json.dumps([judge])}", *settings)
    job.arguments.eval_strategy, job.arguments.eval_on_start = "no", False
    return job


def advantages(groups: list[list[float | None]]) -> list[float]:
    """GRPO's by hand, scaled by the batch (`scale_rewards: batch`), over completions with a verdict; 0 for others."""
    known = [score for group in groups for score in group if score is not None]
    deviation = stdev(known)
    found = []
    for group in groups:
        there = [score for score in group if score is not None]
        mean = math.fsum(there) / len(there) if there else 0.0
        found += [0.0 if score is None else (score - mean) / (deviation + 1e-4) for score in group]
    return found


def test_groups_and_advantages_without_what_the_judge_did_not_answer(make_job, chat_server) -> None:
    chat_server.script({"fails": 0.3, "scores": True, "jitter": 0.05})
    job = judged_job(make_job, chat_server, "rollout.max_grader_errors=0.6")
    trainer, batches = make_trainer(job), []
    generate = trainer._generate_and_score_completions

    def generated(inputs):
        batches.append(generate(inputs))
        return batches[-1]

    trainer._generate_and_score_completions = generated
    trainer.add_callback(MetricsWriter(job.run / "metrics.jsonl", 0.0))
    trainer.train()
    rows = [row for row in read_rows(job.run / "metrics.jsonl") if row["split"] == "train"]
    for step, (row, batch) in enumerate(zip(rows, batches, strict=True), start=1):
        kept = read_rows(job.run / "samples" / f"train-{step:06d}-rank0.jsonl")
        scores = [None if sample["error"] else sample["score"] for sample in kept]
        failed = scores.count(None)
        assert 0 < failed < 20
        assert (row["grader_errors"], row["grader_error_share"]) == (failed, pytest.approx(failed / 32))
        known = [score for score in scores if score is not None]
        assert row["reward"] == pytest.approx(math.fsum(known) / len(known), abs=1e-4)
        expected = advantages([scores[i : i + 8] for i in range(0, 32, 8)])
        assert batch["advantages"].tolist() == pytest.approx(expected, abs=1e-3)


def test_above_the_limit_the_run_stops(make_job, chat_server) -> None:
    chat_server.script({}, {"fails": 0.5})
    trainer = make_trainer(judged_job(make_job, chat_server))
    with pytest.raises(UserError, match=r"of 32 completions could not be graded, more than rollout\.max_grader_errors"):
        trainer.train()
