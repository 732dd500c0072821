"""Each override of a TRL trainer against plain TRL: the same batch, the same loss, the same gradients."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

QUICKSTART = Path(__file__).parents[2] / "recipes" / "quickstart"
pytestmark = pytest.mark.slow


def loss_and_gradients(trainer: Any, batch: dict[str, Any]) -> tuple[float, dict[str, Any]]:
    trainer.model.train()
    trainer.model.zero_grad()
    loss = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    return loss.item(), {n: p.grad.clone() for n, p in trainer.model.named_parameters() if p.grad is not None}


def assert_equal(ours: Any, plain: Any) -> None:
    import torch

    our_batch, plain_batch = (t._prepare_inputs(next(iter(t.get_train_dataloader()))) for t in (ours, plain))
    assert our_batch.keys() == plain_batch.keys()
    for key, value in our_batch.items():
        assert torch.equal(value, plain_batch[key]), key
    our_loss, our_gradients = loss_and_gradients(ours, our_batch)
    plain_loss, plain_gradients = loss_and_gradients(plain, plain_batch)
    assert our_loss == pytest.approx(plain_loss, abs=1e-6)
    assert our_gradients.keys() == plain_gradients.keys()
    assert our_gradients
    for name, gradient in our_gradients.items():
        torch.testing.assert_close(gradient, plain_gradients[name], rtol=1e-5, atol=1e-7)


CUT = pytest.mark.parametrize(
    "cut",
    [(), ("train.max_length=72",), ("train.max_length=72", "data.too_long=keep_end")],
    ids=["whole", "start", "end"],
)


@CUT
def test_sft_trains_on_what_trl_trains_on_with_completion_only_loss(make_job, tmp_path, cut) -> None:
    """Single-turn rows given to TRL as prompt and completion, which it tokenizes, labels, cuts and filters itself, have
    the same trained tokens as our mask."""
    from datasets import Dataset
    from trl import SFTTrainer

    from posttrain.stages.sft import make_trainer

    lines = (QUICKSTART / "data" / "sft.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    single = tmp_path / "single.jsonl"
    single.write_text("".join(line for line in lines if len(json.loads(line)["messages"]) == 2), encoding="utf-8")
    job, records = make_job("sft", f"data.train[0].path={single}", "data.train[0].limit=40", *cut)
    rows = [{"prompt": r.messages[:1], "completion": r.messages[1:]} for r in records.train]
    model = copy.deepcopy(job.model)
    ours = make_trainer(job)
    args = copy.copy(job.arguments)
    args.dataset_kwargs, args.remove_unused_columns = None, True
    args.truncation_mode = "keep_end" if "data.too_long=keep_end" in cut else "keep_start"
    plain = SFTTrainer(
        model=model, args=args, train_dataset=Dataset.from_list(rows), eval_dataset=job.dev_dataset,
        processing_class=job.tokenizer,
    )  # fmt: skip
    assert [row["labels"] for row in ours.train_dataset] == [row["labels"] for row in plain.train_dataset]
    assert (max(len(row["labels"]) for row in ours.train_dataset) == 72) is bool(cut)
    assert_equal(ours, plain)


@CUT
def test_dpo(make_job, cut) -> None:
    from datasets import Dataset
    from trl import DPOTrainer

    from posttrain.data.tokenize import tokenize_preferences
    from posttrain.stages.dpo import make_trainer

    job, records = make_job("dpo", "data.train[0].limit=40", "train.precompute_ref_log_probs=false", *cut)
    lengths = {"max_length": job.arguments.max_length, "too_long": job.recipe.data.too_long}
    kept = [r for r in records.train if tokenize_preferences([r], job.tokenizer, **lengths).kept]
    assert len(kept) > 20
    rows = [{"prompt": r.prompt, "chosen": r.chosen, "rejected": r.rejected} for r in kept]
    model, reference = copy.deepcopy(job.model), copy.deepcopy(job.model)
    ours = make_trainer(job)
    plain = DPOTrainer(
        model=model, ref_model=reference, args=job.arguments, train_dataset=Dataset.from_list(rows),
        eval_dataset=Dataset.from_list(rows[:2]), processing_class=job.tokenizer,
    )  # fmt: skip
    for trainer in (ours, plain):  # away from the reference, where the loss is not just ln 2
        shift(trainer.model)
    assert_equal(ours, plain)


def test_kto(make_job) -> None:
    from datasets import Dataset
    from trl import KTOTrainer

    from posttrain.stages.kto import make_trainer, spread_labels

    job, records = make_job("kto", "data.train[0].limit=40", "train.precompute_ref_log_probs=false")
    rows = [{"prompt": r.prompt, "completion": r.completion, "label": r.label} for r in records.train]
    model, reference = copy.deepcopy(job.model), copy.deepcopy(job.model)
    ours = make_trainer(job)
    spread = Dataset(spread_labels(Dataset.from_list(rows).data.table))
    plain = KTOTrainer(
        model=model, ref_model=reference, args=job.arguments, train_dataset=spread,
        eval_dataset=Dataset.from_list(rows[:4]), processing_class=job.tokenizer,
    )  # fmt: skip
    for trainer in (ours, plain):
        shift(trainer.model)
    assert_equal(ours, plain)


def shift(model: Any) -> None:
    """Move every weight a little, the same way each time."""
    import torch

    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.01 * torch.randn(parameter.shape, generator=generator)


def test_what_is_overridden_still_has_the_signature_we_wrote_against() -> None:
    """A new TRL that changes one of these must be looked at before it is let in."""
    import inspect

    from transformers import Trainer
    from trl import DPOTrainer, GRPOTrainer, KTOTrainer, SFTTrainer

    def parameters(method: Any) -> list[str]:
        return list(inspect.signature(method).parameters)

    for trainer in (SFTTrainer, DPOTrainer, KTOTrainer, GRPOTrainer):
        assert parameters(trainer.training_step) == ["self", "model", "inputs", "num_items_in_batch"]
        assert parameters(trainer._get_grad_norm) == ["self", "model", "grad_norm"]
        assert parameters(trainer._save_checkpoint) == ["self", "model", "trial"]
        assert parameters(trainer.log)[:2] == ["self", "logs"]
    loop = inspect.getsource(Trainer._run_epoch)
    assert loop.index("self._tr_loss += tr_loss_step") < loop.index("self._get_grad_norm(")
    assert loop.index("self._get_grad_norm(") < loop.index("self.optimizer.step()")
    for trainer in (DPOTrainer, KTOTrainer):
        assert parameters(trainer._precompute_ref_logps) == ["self", "dataset", "name", "batch_size"]
        assert parameters(trainer.compute_ref_log_probs) == ["self", "model", "inputs"]
        assert parameters(trainer._prepare_dataset) == [
            "self",
            "dataset",
            "processing_class",
            "args",
            "dataset_name",
        ]
    assert parameters(GRPOTrainer.evaluate) == ["self", "eval_dataset", "ignore_keys", "metric_key_prefix"]
    assert parameters(GRPOTrainer._generate_and_score_completions) == ["self", "inputs"]
    assert parameters(GRPOTrainer._compute_loss) == ["self", "model", "inputs"]
    assert parameters(GRPOTrainer._get_per_token_logps_and_entropies)[:5] == [
        "self",
        "model",
        "input_ids",
        "attention_mask",
        "logits_to_keep",
    ]
    assert "self.rollout_func(prompts, self)" in inspect.getsource(GRPOTrainer._generate)
    losses = inspect.getsource(GRPOTrainer._compute_loss)
    assert set(re.findall(r'"(\w+)"', "".join(re.findall(r"self.loss_type (?:==|in) .*", losses)))) == {
        "grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "luspo", "vespo",
    }  # fmt: skip
