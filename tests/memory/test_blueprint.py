"""Exact counts: published sizes, sums done by hand, and what real models, optimizers and caches hold."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    DynamicCache,
    Gemma2Config,
    Gemma3TextConfig,
    LlamaConfig,
    Qwen2Config,
    Qwen3Config,
    Qwen3MoeConfig,
)

from posttrain.memory.blueprint import draw_up
from posttrain.memory.optimizer import state_bytes
from posttrain.memory.rehearsal import cache_bytes, rehearse
from posttrain.recipe.schema import Lora

LLAMA_8B = LlamaConfig(
    vocab_size=128_256,
    hidden_size=4096,
    intermediate_size=14_336,
    num_hidden_layers=32,
    num_attention_heads=32,
    num_key_value_heads=8,
    tie_word_embeddings=False,
)
QWEN_7B = Qwen2Config(
    vocab_size=152_064,
    hidden_size=3584,
    intermediate_size=18_944,
    num_hidden_layers=28,
    num_attention_heads=28,
    num_key_value_heads=4,
    tie_word_embeddings=False,
)
GEMMA_2B = Gemma2Config(
    vocab_size=256_000,
    hidden_size=2304,
    intermediate_size=9216,
    num_hidden_layers=26,
    num_attention_heads=8,
    num_key_value_heads=4,
    head_dim=256,
)
SHAPE: dict[str, Any] = {
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 176,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
}
SMALL = {
    "llama": LlamaConfig(**SHAPE),
    "qwen": Qwen3Config(**SHAPE),
    "gemma": Gemma3TextConfig(**SHAPE, sliding_window=24),
}


@pytest.mark.parametrize(
    ("config", "parameters"),
    [(LLAMA_8B, 8_030_261_248), (QWEN_7B, 7_615_616_512), (GEMMA_2B, 2_614_341_888)],
    ids=["Llama-3.1-8B", "Qwen2.5-7B", "gemma-2-2b"],
)
def test_published_sizes(config: Any, parameters: int) -> None:
    blueprint = draw_up(config, torch.bfloat16)
    assert blueprint.parameters == blueprint.trained_parameters == parameters
    assert blueprint.weight_bytes == blueprint.trained_bytes == 2 * parameters


def test_adapters_and_four_bits_of_an_8b_model() -> None:
    layer = 2 * 4096 * 4096 + 2 * 4096 * 1024 + 3 * 4096 * 14_336  # q and o, k and v, gate, up and down
    adapters = 32 * 16 * (2 * (4096 + 4096) + 2 * (4096 + 1024) + 3 * (4096 + 14_336))  # r (in + out) each
    blueprint = draw_up(LLAMA_8B, torch.bfloat16, lora=Lora(r=16), four_bit=True)
    assert (blueprint.parameters, blueprint.trained_parameters) == (8_030_261_248, adapters)
    left = 2 * (8_030_261_248 - 32 * layer) + 4 * adapters  # in bfloat16: embeddings, norms; adapters in float32
    assert blueprint.weight_bytes == pytest.approx(32 * layer * (0.5 + 1 / 64 + 4 / 16_384) + left, rel=1e-6)
    attention = draw_up(LLAMA_8B, torch.bfloat16, lora=Lora(r=8, target_modules=["q_proj", "v_proj"]))
    assert attention.trained_parameters == 32 * 8 * ((4096 + 4096) + (4096 + 1024)) == 3_407_872


def test_keys_and_values_of_an_8b_model_are_128_kib_a_token() -> None:
    assert cache_bytes(draw_up(LLAMA_8B, torch.bfloat16), 3, 100, None) == 3 * 100 * 128 * 1024


@pytest.mark.parametrize("config", SMALL.values(), ids=SMALL)
@pytest.mark.parametrize("lora", [None, Lora(r=4)], ids=["full", "lora"])
def test_a_real_model_has_and_keeps_as_much(config: Any, lora: Lora | None) -> None:
    """Of a forward pass: all storages that autograd holds on to, weights apart."""
    from peft import get_peft_model

    from posttrain.model.load import make_lora

    blueprint = draw_up(config, torch.float32, lora=lora)
    model: Any = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model = get_peft_model(model, make_lora(lora)) if lora else model
    weights = list(model.parameters())
    assert blueprint.weight_bytes == sum(weight.nbytes for weight in weights)
    assert blueprint.trained_parameters == sum(weight.numel() for weight in weights if weight.requires_grad)
    ids = torch.ones(4, 32, dtype=torch.long)
    mask = torch.ones_like(ids)
    mask[1:, -1] = 0  # padding, as batches have it: attention gets a mask
    own = {weight.untyped_storage().data_ptr() for weight in weights}
    held: dict[int, torch.Tensor] = {}

    def hold(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            held[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    plain = model.get_base_model() if lora else model
    with torch.autograd.graph.saved_tensors_hooks(hold, lambda tensor: tensor):
        output = plain.get_decoder()(input_ids=ids, attention_mask=mask, use_cache=False)
    really = sum(tensor.untyped_storage().nbytes() for tensor in held.values())
    assert rehearse(blueprint, 4, 32, None).saved == pytest.approx(really, rel=0.1)
    del output


@pytest.mark.parametrize("config", SMALL.values(), ids=SMALL)
def test_a_real_cache_is_as_large(config: Any) -> None:
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    cache = DynamicCache(config=config)
    with torch.no_grad():
        model(input_ids=torch.ones(2, 40, dtype=torch.long), past_key_values=cache, use_cache=True)
    really = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    assert cache_bytes(draw_up(config, torch.float32), 2, 40, None) == really


@pytest.mark.parametrize("optim", ["adamw_torch", "adamw_torch_fused", "adafactor", "sgd", "adagrad", "rmsprop"])
def test_a_real_optimizer_keeps_as_much(optim: str, tmp_path: Any) -> None:
    from transformers import Trainer, TrainingArguments

    model = AutoModelForCausalLM.from_config(SMALL["llama"], dtype=torch.float32)
    arguments = TrainingArguments(output_dir=str(tmp_path), optim=optim, use_cpu=True, report_to="none")
    optimizer = Trainer(model, arguments).create_optimizer()
    for weight in model.parameters():
        weight.grad = torch.ones_like(weight)
    optimizer.step()
    states = [value for state in optimizer.state.values() for value in state.values() if torch.is_tensor(value)]
    really = sum(value.nbytes for value in states if value.numel() > 1)
    assert state_bytes(optim, [weight.shape for weight in model.parameters()]) == really


def test_eight_bit_states_by_hand() -> None:
    shapes = [(100, 100), (10,)]  # the second is too small for 8 bits
    assert state_bytes("paged_adamw_8bit", shapes) == int(2 * (10_000 * (1 + 4 / 256) + 4 * 10))
    assert state_bytes("adamw_8bit", shapes, embedded=10_000) == 2 * 4 * 10_010
    assert state_bytes("adamw_torch_fused", shapes, itemsize=2) == 2 * 2 * 10_010  # bfloat16 weights, and states


def test_experts_are_rehearsed_too() -> None:
    config = Qwen3MoeConfig(**SHAPE, moe_intermediate_size=32, num_experts=4, num_experts_per_tok=2)
    kept = rehearse(draw_up(config, torch.float32), 2, 32, torch.bfloat16)
    assert kept.saved > kept.inputs > 0


def test_nothing_random_is_drawn() -> None:
    before = torch.get_rng_state()
    rehearse(draw_up(SMALL["llama"], torch.float32, lora=Lora(r=4)), 1, 8, torch.bfloat16)
    assert torch.equal(before, torch.get_rng_state())
