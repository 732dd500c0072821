"""What is read off the vocabulary, and its gradients, against log_softmax written out."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch.nn.functional import log_softmax

from posttrain.forward import head as module
from posttrain.forward.head import Head, head_of, score

ALL = ("log_probs", "entropy", "log_sum_sq_probs", "mean_logits", "is_top1")


def make_head(temperature: float = 1.0, logit_scale: float = 1.0, softcap: float | None = None) -> Head:
    return Head(temperature, ALL, False, softcap, logit_scale)


def spelled_out(head: Head, weight: Any, hidden: Any, targets: Any) -> dict[str, Any]:
    logits = hidden @ weight.t() * head.logit_scale
    if head.final_logit_softcapping:
        logits = head.final_logit_softcapping * torch.tanh(logits / head.final_logit_softcapping)
    logits = logits / head.temperature
    logp = log_softmax(logits, -1)
    return {
        "log_probs": logp.gather(-1, targets[:, None])[:, 0],
        "entropy": -(logp.exp() * logp).sum(-1),
        "log_sum_sq_probs": logp.exp().square().sum(-1).log(),
        "mean_logits": logits.mean(-1),
        "is_top1": logits.argmax(-1) == targets,
    }


@pytest.mark.parametrize("kept", [2**30, 0], ids=["kept", "computed-again"])
@pytest.mark.parametrize("head", [make_head(), make_head(0.7), make_head(1.3, 0.25), make_head(softcap=5.0)])
def test_figures_and_gradients(head: Head, kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_KEPT", kept)
    monkeypatch.setattr(module, "PIECE", 16)  # 50 positions: several pieces, the last one short
    draw = torch.Generator().manual_seed(0)
    lm_head = torch.nn.Linear(24, 90, bias=False)
    other = copy.deepcopy(lm_head)
    hidden = torch.randn(50, 24, generator=draw, requires_grad=True)
    same = hidden.detach().clone().requires_grad_()
    targets = torch.randint(90, (50,), generator=draw)
    by_logp, by_entropy = torch.randn(2, 50, generator=draw)
    ours = score(head, lm_head, hidden, targets)
    owed = spelled_out(head, other.weight, same, targets)
    for name in ALL:
        torch.testing.assert_close(ours[name], owed[name], rtol=1e-5, atol=2e-6)
    (ours.log_probs * by_logp + ours.entropy * by_entropy).sum().backward()
    (owed["log_probs"] * by_logp + owed["entropy"] * by_entropy).sum().backward()
    torch.testing.assert_close(hidden.grad, same.grad, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(lm_head.weight.grad, other.weight.grad, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("frozen", ["weight", "hidden"])
def test_only_what_is_trained_gets_a_gradient(frozen: str) -> None:
    lm_head = torch.nn.Linear(8, 30, bias=False)
    hidden = torch.randn(5, 8, requires_grad=frozen != "hidden")
    lm_head.requires_grad_(frozen != "weight")
    score(make_head(), lm_head, hidden, torch.arange(5)).log_probs.sum().backward()
    assert (lm_head.weight.grad is None) is (frozen == "weight")
    assert (hidden.grad is None) is (frozen == "hidden")


def test_of_equal_logits_the_first_is_the_most_likely() -> None:
    lm_head = torch.nn.Linear(4, 10, bias=False)
    torch.nn.init.zeros_(lm_head.weight)
    assert score(make_head(), lm_head, torch.ones(2, 4), torch.tensor([0, 1])).is_top1.tolist() == [True, False]


def test_no_position_at_all_still_hangs_on_the_model() -> None:
    lm_head = torch.nn.Linear(4, 10, bias=False)
    hidden = torch.ones(0, 4, requires_grad=True)
    score(make_head(), lm_head, hidden, torch.ones(0, dtype=torch.long)).log_probs.sum().backward()
    assert lm_head.weight.grad.abs().sum() == 0


def test_the_settings_are_what_trl_was_asked_for() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM
    from trl.trainer.utils import add_fused_lm_head

    sizes = {"vocab_size": 20, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    model = LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=2))
    add_fused_lm_head(model, temperature=0.5, outputs=("log_probs", "is_top1"), cast_lm_head_to_fp32=True)
    assert head_of(model.forward) == Head(0.5, ("log_probs", "is_top1"), True, None, 1.0)
