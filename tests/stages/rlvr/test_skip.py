"""The loss of the rows that have an advantage is the loss of all rows, in every form that TRL has."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from posttrain.stages.rlvr.skip import counting, only, share  # noqa: E402

ROWS, PROMPT, COMPLETION = 10, 9, 7
FLAT = [0, 1, 2, 5, 9]


def batch() -> dict[str, Any]:
    """Rows of random tokens and lengths. Those in FLAT have no advantage, row 3 has no token left; the longest prompt
    and the longest completion are among them."""
    torch.manual_seed(0)
    prompts = torch.tensor([PROMPT, 4, 5, 3, 7, 6, 7, 2, 5, 4])
    completions = torch.tensor([3, COMPLETION, 2, 0, 5, 7, 3, 4, 1, 6])
    advantages = torch.randn(ROWS)
    advantages[FLAT] = 0
    column = torch.arange(PROMPT)
    return {
        "prompt_ids": torch.randint(5, 200, (ROWS, PROMPT)),
        "prompt_mask": (column >= PROMPT - prompts[:, None]).long(),
        "completion_ids": torch.randint(5, 200, (ROWS, COMPLETION)),
        "completion_mask": (torch.arange(COMPLETION) < completions[:, None]).long(),
        "advantages": advantages,
        "num_items_in_batch": torch.tensor(61),
    }


def test_rows_count_that_have_an_advantage_and_a_token() -> None:
    assert counting(batch()).nonzero().flatten().tolist() == [4, 6, 7, 8]
    by_token = batch() | {"advantages": batch()["advantages"][:, None].repeat(1, COMPLETION)}
    assert torch.equal(counting(by_token), counting(batch()))


def test_columns_go_that_are_padding_in_every_row_kept() -> None:
    rows = batch() | {"old_per_token_logps": torch.randn(ROWS, COMPLETION)}
    kept = only(rows, counting(rows), 4)
    assert torch.equal(kept["advantages"], rows["advantages"][[4, 6, 7, 8]])
    assert torch.equal(kept["prompt_ids"], rows["prompt_ids"][[4, 6, 7, 8], 2:])  # the longest has 7 tokens of 9
    assert torch.equal(kept["old_per_token_logps"], rows["old_per_token_logps"][[4, 6, 7, 8], :5])
    assert kept["num_items_in_batch"] == 61
    assert only(rows, counting(rows), 4, trim=False)["prompt_ids"].shape == (4, PROMPT)


def test_other_rows_fill_up_where_another_rank_has_more() -> None:
    rows = batch()
    assert torch.equal(only(rows, counting(rows), 6)["advantages"], rows["advantages"][[0, 1, 4, 6, 7, 8]])


def test_the_share_by_hand() -> None:
    rows = batch()
    kept = only(rows, counting(rows), 4)
    assert share(rows, kept, "dapo") == 1
    assert share(rows, kept, "grpo") == 4 / 10
    assert float(share(rows, kept, "bnpo")) == pytest.approx((5 + 3 + 4 + 1) / (3 + 7 + 2 + 5 + 7 + 3 + 4 + 1 + 6))


LOSSES = ["grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "luspo", "vespo"]


@pytest.mark.slow
def test_loss_and_gradients_are_plain_trls_in_every_form(make_job) -> None:
    from trl import GRPOTrainer

    from posttrain.stages.rlvr import make_trainer

    job, _ = make_job("rlvr", "train.per_device_train_batch_size=16", "data.train[0].limit=8")
    trainer = make_trainer(job)
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 2  # TRL's train loop sets it

    def of(compute: Any, rows: dict[str, Any]) -> tuple[float, dict[str, Any]]:
        trainer.model.zero_grad()
        loss = compute(trainer, trainer.model, rows)
        loss.backward()
        return loss.item(), {n: p.grad.clone() for n, p in trainer.model.named_parameters() if p.grad is not None}

    def assert_equal(rows: dict[str, Any]) -> None:
        ours, our_gradients = of(type(trainer)._compute_loss, rows)
        plain, plain_gradients = of(GRPOTrainer._compute_loss, rows)
        assert ours == pytest.approx(plain, rel=1e-5, abs=1e-6)
        assert our_gradients.keys() == plain_gradients.keys()
        for name, gradient in plain_gradients.items():
            torch.testing.assert_close(our_gradients[name], gradient, rtol=1e-5, atol=1e-5)

    aligned = batch()
    nothing = aligned | {"advantages": torch.zeros(ROWS)}
    earlier = aligned | {"old_per_token_logps": -6 + torch.randn(ROWS, COMPLETION)}
    for trainer.loss_type in LOSSES:
        trainer.epsilon_high = 5.0 if trainer.loss_type == "cispo" else 0.28
        for trainer.importance_sampling_level in ("token", "sequence"):
            for rows in (aligned, earlier, nothing):
                assert_equal(rows)
    trainer.loss_type = "dapo"
    trainer.off_policy_mask_threshold = 0.1
    assert_equal(earlier | {"sampling_per_token_logps": -5 + torch.randn(ROWS, COMPLETION)})
    assert 1 - 4 / 10 in trainer._metrics["train"]["rollout/skipped"]


@pytest.mark.slow
@pytest.mark.parametrize("setting", ["beta=0.1", "entropy_coef=0.01", "top_entropy_quantile=0.5"])
def test_every_row_is_run_where_it_counts(make_job, setting: str, capsys) -> None:
    from posttrain.stages.rlvr import make_trainer

    job, _ = make_job("rlvr", f"train.{setting}", "train.per_device_train_batch_size=16", "data.train[0].limit=8")
    make_trainer(job)
    assert "groups with equal rewards cost as much as others" in capsys.readouterr().err
