"""The reference of a preference stage is its parent, proved against the parent read from disk by itself."""

from __future__ import annotations

import math
from typing import Any

import pytest

pytestmark = pytest.mark.slow


def log_probs(model: Any, batch: dict[str, Any]) -> Any:
    """Sum of log p(token) over each row's completion, from plain logits."""
    import torch

    with torch.no_grad():
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    steps = torch.log_softmax(logits[:, :-1].float(), -1)
    chosen = steps.gather(-1, batch["input_ids"][:, 1:, None]).squeeze(-1)
    return (chosen * batch["completion_mask"][:, 1:]).sum(-1)


@pytest.mark.parametrize(
    "overrides",
    [
        ("model.lora={r: 4}",),
        ("train.precompute_ref_log_probs=false",),
        ("train.precompute_ref_log_probs=true",),
    ],
    ids=["lora", "second model", "computed beforehand"],
)
def test_dpo_compares_with_the_parent(make_job, overrides: tuple[str, ...]) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from posttrain.stages.dpo import make_trainer

    job, _ = make_job("dpo", "data.train[0].limit=40", "train.per_device_train_batch_size=4", *overrides)
    trainer = make_trainer(job)
    batch = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    at_start = trainer.compute_loss(trainer.model, batch).item()
    assert at_start == pytest.approx(math.log(2), abs=1e-6)

    with torch.no_grad():  # the policy moves away; the reference must not
        for parameter in trainer.model.parameters():
            if parameter.requires_grad:
                parameter += 0.02
    parent = AutoModelForCausalLM.from_pretrained(job.parent.path).eval()
    expected = log_probs(parent, batch)
    if trainer.precompute_ref_logps:
        reference = torch.cat([batch["ref_chosen_logps"], batch["ref_rejected_logps"]])
    else:
        reference = torch.cat(trainer.compute_ref_log_probs(trainer.ref_model or trainer.model, batch))
    torch.testing.assert_close(reference, expected, rtol=1e-4, atol=1e-4)
    moved = log_probs(trainer.model, batch)
    assert (moved - expected).abs().min() > 1e-2
