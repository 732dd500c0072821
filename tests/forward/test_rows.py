"""Batches laid out flat against TRL's fused forward on the same padded batch: figures and gradients."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from trl.trainer.utils import add_fused_lm_head

from posttrain.forward.attention import NAME
from posttrain.forward.rows import compute_flat, why_not_flat

ALL = ("log_probs", "entropy", "log_sum_sq_probs", "mean_logits", "is_top1")
VOCABULARY = 300
SIZES = {
    "vocab_size": VOCABULARY, "hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 3,
    "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 512,
    "pad_token_id": 0, "initializer_range": 0.1,
}  # fmt: skip


def make_model(kind: str) -> Any:
    import transformers as t

    torch.manual_seed(0)
    if kind == "gemma3":
        layers = ["sliding_attention", "full_attention", "sliding_attention"]
        return t.Gemma3ForCausalLM(t.Gemma3TextConfig(**SIZES, sliding_window=16, layer_types=layers))
    config = {"llama": t.LlamaConfig, "qwen2": t.Qwen2Config, "qwen3": t.Qwen3Config, "mistral": t.MistralConfig}[kind]
    settings = {**SIZES, "sliding_window": 20} if kind == "mistral" else SIZES
    return t.AutoModelForCausalLM.from_config(config(**settings))


def batch(side: str, completions: int = 4) -> dict[str, torch.Tensor]:
    """Return rows of two prompts with completions of their own, one of them twice; completions are scored."""
    draw = np.random.default_rng(1)
    rows = [
        (prompt, draw.integers(1, VOCABULARY, size=draw.integers(3, 30)))
        for prompt in (draw.integers(1, VOCABULARY, size=n) for n in (40, 12))
        for _ in range(completions)
    ]
    rows.append(rows[-1])
    width = max(len(prompt) + len(completion) for prompt, completion in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
    for line, (prompt, completion) in enumerate(rows):
        tokens = torch.tensor(np.concatenate([prompt, completion]))
        first = 0 if side == "right" else width - len(tokens)
        here = slice(first, first + len(tokens))
        ids[line, here], mask[line, here] = tokens, 1
        labels[line, here.stop - len(completion) : here.stop] = tokens[len(prompt) :]
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def figures_and_gradients(model: Any, inputs: Mapping[str, Any]) -> tuple[Any, dict[str, torch.Tensor]]:
    model.zero_grad()
    found = model(**inputs, use_cache=False, fused_lm_head=True)
    draw = torch.Generator().manual_seed(2)
    by_logp, by_entropy = torch.randn(2, *found.log_probs.shape, generator=draw)
    (found.log_probs * by_logp + found.entropy * by_entropy).sum().backward()
    return found, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def two_of(model: Any, **settings: Any) -> tuple[Any, Any]:
    """Return the model as TRL computes it, and a copy that computes flat."""
    trl, ours = model, copy.deepcopy(model)
    for each in (trl, ours):
        add_fused_lm_head(each, outputs=ALL, **settings)
    compute_flat(ours)
    return trl, ours


def assert_equal(trl: tuple[Any, Any], ours: tuple[Any, Any], *, tolerance: float = 1e-5) -> None:
    for name in (*ALL, "label_mask"):
        torch.testing.assert_close(ours[0][name], trl[0][name], rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(ours[0].loss, trl[0].loss, rtol=tolerance, atol=tolerance)
    assert ours[1].keys() == trl[1].keys()
    assert len(trl[1]) > 3
    norms = [torch.stack([gradient.norm() for gradient in each[1].values()]).norm() for each in (ours, trl)]
    torch.testing.assert_close(*norms, rtol=tolerance, atol=0)
    for name, gradient in trl[1].items():
        largest = gradient.abs().max().item()
        torch.testing.assert_close(ours[1][name], gradient, rtol=0, atol=max(tolerance * largest, 1e-7), msg=name)


@pytest.mark.parametrize(
    ("kind", "side"),
    [
        ("llama", "right"),
        ("llama", "left"),
        ("qwen2", "right"),
        ("qwen3", "left"),
        ("gemma3", "left"),
        ("mistral", "right"),
    ],
)
def test_flat_is_trls(kind: str, side: str) -> None:
    trl, ours = two_of(make_model(kind), temperature=0.7)
    inputs = batch(side)
    assert_equal(figures_and_gradients(trl, inputs), figures_and_gradients(ours, inputs))


@pytest.mark.parametrize("kind", ["llama", "gemma3"])
def test_with_lora(kind: str) -> None:
    import peft

    lora = peft.LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear", init_lora_weights=False)
    trl, ours = (peft.get_peft_model(model, lora) for model in two_of(make_model(kind)))
    ours.load_state_dict(trl.state_dict())
    found = [figures_and_gradients(model, batch("right")) for model in (trl, ours)]
    assert all("lora" in name for name in found[0][1])
    assert_equal(*found)


def test_with_gradient_checkpointing() -> None:
    trl, ours = two_of(make_model("llama"))
    for model in (trl, ours):
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.train()
    assert_equal(*(figures_and_gradients(model, batch("right")) for model in (trl, ours)))


def test_under_bfloat16_autocast_it_is_as_near_as_its_rounding() -> None:
    trl, ours = two_of(make_model("llama"))
    with torch.autocast("cpu", torch.bfloat16):
        found = [model(**batch("right"), fused_lm_head=True).log_probs for model in (trl, ours)]
    torch.testing.assert_close(*found, rtol=0, atol=0.1)


def test_a_packed_batch_is_its_rows_one_by_one() -> None:
    trl, ours = two_of(make_model("llama"))
    padded = batch("right")
    lengths = padded["attention_mask"].sum(-1).tolist()
    rows = [padded["input_ids"][line, :length] for line, length in enumerate(lengths)]
    labels = [padded["labels"][line, :length].clone() for line, length in enumerate(lengths)]
    filling = torch.zeros(5, dtype=torch.long)
    packed = {
        "input_ids": torch.cat([*rows, filling])[None],
        "labels": torch.cat([*labels, filling - 100])[None],
        "position_ids": torch.cat([*(torch.arange(length) for length in lengths), filling])[None],
    }
    alone = trl(**padded, fused_lm_head=True)
    together = ours(**packed, fused_lm_head=True)
    torch.testing.assert_close(
        together.log_probs[together.label_mask], alone.log_probs[alone.label_mask], rtol=1e-5, atol=1e-5
    )


def test_other_calls_are_left_as_they_are() -> None:
    model = make_model("llama")
    inputs = batch("left")
    before = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits
    greedy = {"max_new_tokens": 5, "do_sample": False, "attention_mask": inputs["attention_mask"]}
    drawn = model.generate(inputs["input_ids"], **greedy)
    add_fused_lm_head(model)
    compute_flat(model)
    assert model.config._attn_implementation == NAME
    after = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits
    assert torch.equal(before, after)
    assert torch.equal(model.generate(inputs["input_ids"], **greedy), drawn)
    assert NAME not in model.config.to_json_string()


def test_generate_still_knows_what_the_model_takes() -> None:
    """A left-padded row of a model with learned positions draws what it drew before."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=90, n_embd=32, n_layer=2, n_head=2, n_positions=64, bos_token_id=0)
    ).eval()
    ids = torch.tensor([[0, 0, 0, 5, 6, 7], [8, 9, 10, 11, 12, 13]])
    settings = {"attention_mask": (ids != 0).long(), "max_new_tokens": 8, "do_sample": False, "pad_token_id": 0}
    before = model.generate(ids, **settings)
    add_fused_lm_head(model)
    compute_flat(model)
    assert torch.equal(model.generate(ids, **settings), before)
    assert model._supports_logits_to_keep()


def test_a_window_in_the_mask_alone_is_refused() -> None:
    """Phi-MoE's attention does not hand its window on, so that rows longer than it would see too much."""
    from transformers import AutoModelForCausalLM, PhimoeConfig

    sizes = {name: size for name, size in SIZES.items() if name != "head_dim"}
    config = PhimoeConfig(**sizes, num_local_experts=2, num_experts_per_tok=1, sliding_window=16)
    model = AutoModelForCausalLM.from_config(config)
    add_fused_lm_head(model)
    compute_flat(model)
    with pytest.raises(NotImplementedError, match="in the mask alone"):
        model(**batch("right"), fused_lm_head=True)


def test_it_can_be_turned_off() -> None:
    model = make_model("llama")
    add_fused_lm_head(model)
    inputs = batch("right")
    trl = model(**inputs, fused_lm_head=True).log_probs
    flat = compute_flat(model)
    flat.on = False
    assert torch.equal(model(**inputs, fused_lm_head=True).log_probs, trl)


def test_a_batch_in_which_nothing_is_scored_gives_gradients_of_zero() -> None:
    _, ours = two_of(make_model("llama"))
    inputs = batch("right")
    inputs["labels"] = torch.full_like(inputs["labels"], -100)
    _, gradients = figures_and_gradients(ours, inputs)
    assert gradients
    assert all(gradient.abs().max() == 0 for gradient in gradients.values())


def test_what_the_configuration_rules_out() -> None:
    from transformers import AutoModelForCausalLM, MixtralConfig

    assert why_not_flat(make_model("llama")) is None
    eager = AutoModelForCausalLM.from_config(make_model("llama").config, attn_implementation="eager")
    assert "eager" in (why_not_flat(eager) or "")
    experts = MixtralConfig(**SIZES, num_local_experts=2, output_router_logits=True)
    assert "experts" in (why_not_flat(AutoModelForCausalLM.from_config(experts)) or "")


def test_an_attention_that_is_not_ours_to_compute_is_refused() -> None:
    from posttrain.forward.attention import rows_attention
    from posttrain.forward.layout import lay_out

    states = torch.zeros(1, 2, 3, 8)
    with pytest.raises(NotImplementedError, match="softcap"):
        rows_attention(torch.nn.Module(), states, states, states, None, layout=lay_out([np.arange(3)]), softcap=50.0)
