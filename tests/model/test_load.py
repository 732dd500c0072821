from __future__ import annotations

import shutil
from importlib import util
from pathlib import Path

import pytest
import torch

from posttrain.errors import UserError
from posttrain.model import load
from posttrain.model.load import (
    compute_dtype,
    load_model,
    load_reference,
    make_lora,
    pick_dtype,
    weights_dtype,
)
from posttrain.model.resolve import resolve
from posttrain.model.tokenizer import load_tokenizer, stop_token_ids
from posttrain.recipe.schema import Lora, Model

TINY = resolve("builtin:tiny")
FLOAT32 = Model(dtype="float32")


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(TINY, FLOAT32)


def settings(**values) -> Model:
    return Model.model_validate({"dtype": "float32", **values})


def test_auto_dtype_follows_the_hardware(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for processor, expected in [({}, torch.float32), ({"avx512_bf16": True}, torch.bfloat16)]:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda processor=processor: processor)
        assert pick_dtype("auto") == expected
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for capability, expected in [((7, 5), torch.float32), ((8, 0), torch.bfloat16), ((9, 0), torch.bfloat16)]:
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda capability=capability: capability)
        assert pick_dtype("auto") == expected
    assert pick_dtype("float16") == torch.float16


@pytest.mark.parametrize(
    ("dtype", "lora", "computed", "held"),
    [
        ("auto", None, torch.bfloat16, torch.float32),
        ("auto", {}, torch.bfloat16, torch.bfloat16),
        ("bfloat16", None, torch.bfloat16, torch.bfloat16),
        ("float16", None, torch.float16, torch.float32),
        ("float16", {}, torch.float16, torch.float16),
        ("float32", {}, torch.float32, torch.float32),
    ],
)
def test_weights_dtype(monkeypatch, dtype, lora, computed, held):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    model = settings(dtype=dtype, lora=lora)
    assert (compute_dtype(model), weights_dtype(model)) == (computed, held)


def test_model_stops_at_the_end_of_turn(tokenizer):
    model = load_model(TINY, FLOAT32, tokenizer)
    assert model.dtype == torch.float32
    assert model.generation_config.eos_token_id == [tokenizer.convert_tokens_to_ids("<|im_end|>")]
    assert model.generation_config.pad_token_id == tokenizer.pad_token_id == model.config.pad_token_id


def test_reference_is_a_frozen_copy_of_the_parent(tokenizer, logits):
    model, reference = load_model(TINY, FLOAT32, tokenizer), load_reference(TINY, FLOAT32)
    assert torch.equal(logits(model, tokenizer), logits(reference, tokenizer))
    assert not any(parameter.requires_grad for parameter in reference.parameters())
    assert model.get_input_embeddings().weight is not reference.get_input_embeddings().weight


def test_make_lora():
    config = make_lora(Lora(r=8, alpha=24, dropout=0.1, target_modules=["q_proj"], dora=True, rslora=True))
    assert (config.r, config.lora_alpha, config.lora_dropout) == (8, 24, 0.1)
    assert (config.target_modules, config.use_dora, config.use_rslora) == ({"q_proj"}, True, True)
    assert config.task_type == "CAUSAL_LM"
    assert make_lora(Lora()).target_modules == "all-linear"


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        (["q_proj", "v_porj"], "no module 'v_porj'. Did you mean 'v_proj'?"),
        ("q_proj", "no module 'q_proj'"),
        (["lm_head"], "lm_head cannot carry an adapter"),
        (["embed_tokens"], "shares its weight"),
    ],
)
def test_lora_targets_that_do_not_work(tokenizer, targets, said):
    with pytest.raises(UserError) as caught:
        load_model(TINY, settings(lora={"target_modules": targets}), tokenizer)
    assert said in str(caught.value)
    assert caught.value.where == "model.lora.target_modules"


@pytest.mark.parametrize("targets", [["q_proj"], r".*layers\.[01]\..*v_proj", ["layers.0.mlp.up_proj"], "all-linear"])
def test_lora_targets_that_work(tokenizer, targets):
    import peft

    lora = settings(lora={"target_modules": targets})
    model = peft.get_peft_model(load_model(TINY, lora, tokenizer), make_lora(lora.lora))
    assert any("lora_A" in name for name, _ in model.named_parameters())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_four_bit_without_a_gpu(tokenizer):
    with pytest.raises(UserError, match="needs a CUDA GPU"):
        load_model(TINY, settings(lora={}, load_in_4bit=True, save="adapter"), tokenizer)


def test_four_bit_without_its_package(tokenizer, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(load, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'pip install "posttrain\[qlora\]"'):
        load_model(TINY, settings(lora={}, load_in_4bit=True, save="adapter"), tokenizer)


def test_an_attention_that_is_not_installed(tokenizer):
    if util.find_spec("flash_attn"):
        pytest.skip("flash_attn is installed")
    with pytest.raises(UserError, match="builtin:tiny cannot be loaded"):
        load_model(TINY, settings(attention="flash_attention_2"), tokenizer)


def test_broken_weights_are_the_users_to_mend(tokenizer, tmp_path):
    shutil.copytree(TINY.path, tmp_path / "model")
    weights = tmp_path / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UserError, match="cannot be loaded"):
        load_model(resolve(str(tmp_path / "model")), FLOAT32, tokenizer)


def copy_without_template(place: Path) -> Path:
    shutil.copytree(TINY.path, place)
    (place / "chat_template.jinja").unlink()
    return place


def test_chat_template_from_a_file_or_an_error(tmp_path, tokenizer):
    bare = resolve(str(copy_without_template(tmp_path / "base")))
    with pytest.raises(UserError, match="no chat template"):
        load_tokenizer(bare, FLOAT32)
    template = tmp_path / "template.jinja"
    template.write_text(tokenizer.chat_template)
    loaded = load_tokenizer(bare, settings(chat_template=str(template)))
    assert loaded.chat_template == tokenizer.chat_template


@pytest.mark.parametrize("template", ["{{ raise_exception('only one turn') }}", "{% for m in messages %}"])
def test_a_template_that_cannot_render(tmp_path, template):
    file = tmp_path / "template.jinja"
    file.write_text(template)
    with pytest.raises(UserError, match="cannot render a chat"):
        load_tokenizer(TINY, settings(chat_template=str(file)))


def test_padding_ends_no_turn(tmp_path, tokenizer):
    from transformers import AutoTokenizer

    place = tmp_path / "model"
    for own, expected in [("<|im_end|>", "<|pad|>"), (None, "<|pad|>"), ("<|im_start|>", "<|im_start|>")]:
        changed = AutoTokenizer.from_pretrained(TINY.path)
        changed.pad_token = own
        shutil.copytree(TINY.path, place)
        changed.save_pretrained(place)
        assert load_tokenizer(resolve(str(place)), FLOAT32).pad_token == expected
        shutil.rmtree(place)


def test_stop_tokens_are_the_templates_and_the_tokenizers(tmp_path):
    place = tmp_path / "model"
    shutil.copytree(TINY.path, place)
    loaded = load_tokenizer(resolve(str(place)), FLOAT32)
    loaded.eos_token = "<|im_start|>"
    assert stop_token_ids(loaded) == [2, loaded.eos_token_id]
