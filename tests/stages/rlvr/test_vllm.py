"""RLVR whose completions vLLM draws: each step by the weights that the step before left."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

torch = pytest.importorskip("torch")

from posttrain.engines.sampling import Sampling  # noqa: E402
from posttrain.engines.transformers import engine  # noqa: E402
from posttrain.stages.rlvr import make_trainer  # noqa: E402
from posttrain.stages.sampler import sampler  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("vllm") is None, reason="vllm is not installed"),
]

SMALL = (
    "rollout.engine=vllm",
    "train.num_generations=4",
    "train.per_device_train_batch_size=16",
    "train.max_completion_length=24",
    "train.max_steps=3",
    "train.save_strategy=no",
    "data.train[0].limit=24",
    "signal.problems=2",
)


@pytest.mark.parametrize(
    "settings",
    [
        ("train.learning_rate=1e-3", "train.steps_per_generation=1"),
        ("train.learning_rate=1e-2", "model.lora={r: 4, alpha: 8}", "rollout.dynamic_sampling=true"),
    ],
    ids=["full", "lora"],
)
def test_each_step_draws_by_the_weights_of_the_step_before(make_job, settings, monkeypatch, capsys) -> None:
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")  # GiB
    job, _ = make_job("rlvr", *SMALL, *settings)
    greedy = Sampling(1, max_new_tokens=24, temperature=0.0, logprobs=True)
    job.arguments.eval_strategy, job.arguments.eval_on_start = "no", False
    trainer = make_trainer(job)
    prompts = job.prompts[:4]
    before = dict(engine(trainer.model, job.tokenizer)(prompts, greedy))
    trainer.train()
    assert "rollouts: vllm, in this process" in capsys.readouterr().err
    logged = [row for row in trainer.state.log_history if "loss" in row]
    assert len(logged) == 3
    # Weights of the step before last would be off by far more than rounding.
    differences = [row["sampling/sampling_logp_difference/max"] for row in logged]
    assert max(differences) < 1e-4
    after = dict(engine(trainer.model, job.tokenizer)(prompts, greedy))
    moved = [abs(a - b) for i in after for a, b in zip(after[i][0].logprobs, before[i][0].logprobs, strict=False)]
    assert max(moved) > 1e-2
    with sampler(trainer, job) as sample:
        drawn = dict(sample(prompts, greedy))
    for index, (completion,) in after.items():
        assert drawn[index][0].ids == completion.ids
        assert drawn[index][0].logprobs == pytest.approx(completion.logprobs, abs=1e-4)
