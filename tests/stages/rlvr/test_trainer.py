"""What our trainer draws and trains on, against plain TRL given the same completions."""

from __future__ import annotations

import copy
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from posttrain.stages.rlvr import make_trainer  # noqa: E402

pytestmark = pytest.mark.slow

SMALL = (
    "train.num_generations=4",
    "train.per_device_train_batch_size=16",
    "train.max_completion_length=24",
    "data.train[0].limit=24",
    "signal.problems=0",
)


def plain_trl(job: Any, model: Any, drawn: list[dict[str, Any]]) -> Any:
    """A GRPOTrainer of TRL's own that is handed the completions and rewards of `drawn`, a step after the other."""
    from trl import GRPOTrainer

    steps = iter(drawn)
    return GRPOTrainer(
        model=model,
        reward_funcs=[lambda prompts, score, **_: score],
        args=job.arguments,
        train_dataset=job.train_dataset,
        processing_class=job.tokenizer,
        rollout_func=lambda prompts, trainer: next(steps),
    )


def recorded(trainer: Any) -> list[dict[str, Any]]:
    """Have the trainer keep what it hands TRL, with the score of each completion."""
    kept: list[dict[str, Any]] = []
    hand_out = trainer.rollout_func

    def handing(prompts: Any, of: Any) -> dict[str, Any]:
        given = hand_out(prompts, of)
        scores = [grade.score for grade in given["grade"]]
        kept.append({k: given[k] for k in ("prompt_ids", "completion_ids")} | {"logprobs": None, "score": scores})
        return given

    trainer.rollout_func = handing
    return kept


@pytest.mark.parametrize(
    "reuse",
    [
        (),
        ("train.steps_per_generation=2", "train.num_iterations=2", "train.loss_type=grpo"),
        ("train.mask_truncated_completions=true", "train.importance_sampling_level=sequence"),
        ("train.loss_type=dr_grpo", "train.scale_rewards=none", "train.gradient_accumulation_steps=2"),
    ],
    ids=["once", "reused", "truncated masked", "accumulated"],
)
def test_training_moves_the_weights_as_plain_trl_does(make_job, reuse) -> None:
    """Some steps of both from the same start, on the same completions, to the same weights."""
    job, _ = make_job("rlvr", *SMALL, "train.max_steps=4", *reuse)
    job.arguments.eval_strategy, job.arguments.eval_on_start = "no", False
    job.arguments.save_strategy = "no"
    model = copy.deepcopy(job.model)
    ours = make_trainer(job)
    kept = recorded(ours)
    ours.train()
    plain = plain_trl(job, model, kept)
    plain.train()
    assert any(len(set(step["score"])) > 1 for step in kept)
    losses = [[row["loss"] for row in t.state.log_history if "loss" in row] for t in (ours, plain)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    for (name, weight), (_, other) in zip(ours.model.named_parameters(), plain.model.named_parameters(), strict=True):
        torch.testing.assert_close(weight, other, rtol=1e-4, atol=1e-5, msg=name)
    key = "sampling/sampling_logp_difference/max"
    differences = [row[key] for row in ours.state.log_history if key in row]
    assert len(differences) >= len(kept) // 2
    assert max(differences) < 1e-4


def test_a_step_draws_the_same_again_and_the_next_step_draws_anew(make_job) -> None:
    job, _ = make_job("rlvr", *SMALL)
    trainer = make_trainer(job)
    trainer.model.train()
    batch = next(iter(trainer.get_train_dataloader()))
    first, again = (trainer._generate_and_score_completions(batch)["completion_ids"] for _ in range(2))
    assert torch.equal(first, again)
    trainer.state.global_step += 1
    assert not torch.equal(first, trainer._generate_and_score_completions(batch)["completion_ids"])


def test_what_our_engine_does_not_follow_trl_draws(make_job, capsys) -> None:
    job, _ = make_job("rlvr", *SMALL, "train.top_k=5")
    trainer = make_trainer(job)
    assert "rollouts: TRL's generate: train.top_k" in capsys.readouterr().err
    assert trainer.rollout_func is None
    trainer.model.train()
    batch = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    trainer.current_gradient_accumulation_steps = 1
    assert trainer._compute_loss(trainer.model, batch).requires_grad
    rows = (job.run / "samples" / "train-000001-rank0.jsonl").read_text().splitlines()
    assert len(rows) == 16


LORA = "model.lora={r: 4, alpha: 8}"


@pytest.mark.parametrize(
    "settings",
    [
        ("train.loss_type=grpo", "train.scale_rewards=group"),
        ("train.loss_type=dr_grpo", "train.scale_rewards=none", "rollout.dynamic_sampling=true"),
        ("train.loss_type=bnpo", "rollout.retire={}"),
        ("train.importance_sampling_level=sequence", "train.epsilon=3e-4", "train.steps_per_generation=2"),
        ("train.loss_type=cispo", "train.epsilon_high=5.0", "train.num_iterations=2"),
        ("train.loss_type=sapo", "train.mask_truncated_completions=true"),
        ("train.loss_type=luspo", "train.importance_sampling_level=sequence"),
        ("train.loss_type=vespo", "train.steps_per_generation=2", "train.num_iterations=2"),
        ("train.beta=0.04", LORA, "rollout.dynamic_sampling=true"),
        ("train.entropy_coef=0.01", "train.top_p=0.9", LORA),
        ("model.dtype=bfloat16", "train.num_iterations=2"),
    ],
    ids=lambda settings: " ".join(key.rpartition(".")[2] for key in settings),
)
def test_each_way_to_train_trains(make_job, settings) -> None:
    job, _ = make_job("rlvr", *SMALL, "train.max_steps=2", "train.save_strategy=no", *settings)
    job.arguments.eval_strategy, job.arguments.eval_on_start = "no", False
    trainer = make_trainer(job)
    before = {n: p.detach().clone() for n, p in trainer.model.named_parameters() if p.requires_grad}
    trainer.train()
    logged = [row for row in trainer.state.log_history if "loss" in row]
    assert len(logged) == 2
    assert all(torch.isfinite(torch.tensor([row["loss"], row["grad_norm"]])).all() for row in logged)
    assert any(not torch.equal(p, before[n]) for n, p in trainer.model.named_parameters() if n in before)


def test_in_half_precision_the_old_policy_is_the_one_that_drew(make_job) -> None:
    job, _ = make_job("rlvr", *SMALL, "model.dtype=bfloat16")
    trainer = make_trainer(job)
    trainer.model.train()
    batch = trainer._generate_and_score_completions(next(iter(trainer.get_train_dataloader())))
    assert torch.equal(batch["old_per_token_logps"], batch["sampling_per_token_logps"])
    trainer.current_gradient_accumulation_steps = 1
    with trainer.compute_loss_context_manager():
        trainer._compute_loss(trainer.model, batch)
    difference = trainer._metrics["train"]["sampling/sampling_logp_difference/mean"][0]
    assert 1e-5 < difference < 0.05


def test_a_ratio_of_whole_completions_is_to_the_trainers_own(make_job) -> None:
    """GSPO clips it by less than what half precision adds up to over a completion."""
    job, _ = make_job("rlvr", *SMALL, "model.dtype=bfloat16", "train.importance_sampling_level=sequence")
    trainer = make_trainer(job)
    trainer.model.train()
    batch = trainer._generate_and_score_completions(next(iter(trainer.get_train_dataloader())))
    assert "old_per_token_logps" not in batch
