"""The weights that an engine is given are those that a checkpoint would have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from posttrain.engines.weights import checkpoint_weights  # noqa: E402


def small(kind: str) -> Any:
    import transformers

    sizes: dict[str, Any] = {
        "vocab_size": 64,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    }
    if kind == "Qwen3Moe":
        sizes |= {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "head_dim": 8}
    torch.manual_seed(0)
    return getattr(transformers, f"{kind}ForCausalLM")(getattr(transformers, f"{kind}Config")(**sizes))


def saved(model: Any, place: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    model.save_pretrained(place)
    return load_file(place / "model.safetensors")


def equal(given: dict[str, Any], expected: dict[str, Any], **tolerance: float) -> None:
    assert given.keys() == expected.keys()
    for name, weight in expected.items():
        torch.testing.assert_close(given[name], weight, msg=name, **(tolerance or {"rtol": 0, "atol": 0}))


@pytest.mark.parametrize("kind", ["Llama", "Qwen3Moe"])
def test_a_plain_model_gives_what_it_would_save(kind: str, tmp_path: Path) -> None:
    """Of experts too, which transformers keeps in one tensor, and a checkpoint one by one."""
    small(kind).save_pretrained(tmp_path / "first")
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tmp_path / "first")
    given = dict(checkpoint_weights(model))
    equal(given, saved(model, tmp_path / "again"))
    assert kind != "Qwen3Moe" or "model.layers.0.mlp.experts.3.up_proj.weight" in given


def test_a_tied_head_is_given_once() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(vocab_size=16, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1)
    config.tie_word_embeddings = True
    names = [name for name, _ in checkpoint_weights(LlamaForCausalLM(config))]
    assert "model.embed_tokens.weight" in names
    assert "lm_head.weight" not in names


@pytest.mark.parametrize("settings", [{}, {"use_dora": True}, {"use_rslora": True}], ids=["lora", "dora", "rslora"])
def test_adapters_are_merged_into_copies(settings: dict[str, Any], tmp_path: Path) -> None:
    import peft

    config = peft.LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM", **settings)
    model = peft.get_peft_model(small("Llama"), config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name:
                weight.add_(torch.randn_like(weight) * 0.1)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    pointers = [weight.data_ptr() for weight in model.parameters()]
    given = dict(checkpoint_weights(model))
    equal(model.state_dict(), before)
    assert [weight.data_ptr() for weight in model.parameters()] == pointers
    plain = before["base_model.model.model.layers.0.mlp.up_proj.base_layer.weight"]
    assert not torch.equal(given["model.layers.0.mlp.up_proj.weight"], plain)
    equal(given, saved(model.merge_and_unload(), tmp_path), rtol=1e-6, atol=1e-6)
