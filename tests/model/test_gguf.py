"""A GGUF file written here from the built-in model must load as the same model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from posttrain.errors import UserError
from posttrain.model.load import load_model, load_reference
from posttrain.model.resolve import resolve
from posttrain.model.save import save_final
from posttrain.model.tokenizer import load_tokenizer
from posttrain.recipe.schema import Model

gguf = pytest.importorskip("gguf")

FLOAT32 = Model(dtype="float32")
TEXT = "Steps:\n\n1. add 12+30\n   2) it's  77\n"


def permuted(weight, heads: int):
    """Return a query or key projection in llama.cpp's order, which pairs rotary dimensions next to each
    other."""
    out, inner = weight.shape
    return weight.reshape(heads, 2, out // heads // 2, inner).swapaxes(1, 2).reshape(out, inner)


@pytest.fixture(scope="module", params=["F32", "Q8_0"])
def file(request, tmp_path_factory) -> Path:
    """The built-in model as llama.cpp would write it, in full precision and quantized."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tiny = resolve("builtin:tiny").path
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tiny), AutoTokenizer.from_pretrained(tiny)
    path = tmp_path_factory.mktemp("gguf") / f"tiny.{request.param}.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    write_config(writer, model.config)
    write_vocabulary(writer, tokenizer)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, model.config.num_hidden_layers)
    kind = gguf.GGMLQuantizationType[request.param]
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight":  # tied
            continue
        array = tensor.float().numpy()
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            array = permuted(array, model.config.num_attention_heads)
        quantized = array.ndim == 2 and request.param != "F32"
        data = gguf.quantize(array, kind) if quantized else array.copy()
        writer.add_tensor(names.get_name(name, (".weight",)), data, raw_dtype=kind if quantized else None)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_config(writer, config) -> None:
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_vocab_size(config.vocab_size)


def write_vocabulary(writer, tokenizer) -> None:
    import json

    stored = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    special = set(tokenizer.all_special_ids)
    tokens = [tokenizer.convert_ids_to_tokens(i) for i in range(len(tokenizer))]
    control, normal = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([control if i in special else normal for i in range(len(tokens))])
    writer.add_token_merges([" ".join(pair) if isinstance(pair, list) else pair for pair in stored["merges"]])
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.eos_token_id)
    writer.add_chat_template(tokenizer.chat_template)


def test_weights_are_the_models(file, logits):
    parent, tiny = resolve(str(file)), resolve("builtin:tiny")
    tokenizer = load_tokenizer(tiny, FLOAT32)
    ours, theirs = load_model(parent, FLOAT32, tokenizer), load_model(tiny, FLOAT32, tokenizer)
    difference = (logits(ours, tokenizer) - logits(theirs, tokenizer)).abs().max()
    assert difference < (1e-4 if "F32" in file.name else 0.5)
    assert ours.config.tie_word_embeddings
    assert ours.lm_head.weight is ours.model.embed_tokens.weight
    assert torch.equal(logits(ours, tokenizer), logits(load_reference(parent, FLOAT32), tokenizer))


def test_tokenizer_is_the_models(file):
    ours, theirs = (
        load_tokenizer(resolve(str(file)), FLOAT32),
        load_tokenizer(resolve("builtin:tiny"), FLOAT32),
    )
    chat = [{"role": "user", "content": "What is 12+30?"}, {"role": "assistant", "content": TEXT}]
    assert ours.apply_chat_template(chat, return_dict=False) == theirs.apply_chat_template(chat, return_dict=False)
    assert (ours.eos_token, ours.pad_token) == (theirs.eos_token, theirs.pad_token)


def test_blank_lines_before_digits_are_split_as_the_file_says(file):
    tokenizer = load_tokenizer(resolve(str(file)), FLOAT32)
    pieces = [piece for piece, _ in tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str("a\n\n12")]
    assert pieces == ["a", "ĊĊ", "1", "2"]


@pytest.mark.parametrize("lora", [None, {"r": 4}])
@pytest.mark.slow
def test_training_from_gguf_ends_in_plain_safetensors(file, train, logits, tmp_path, lora):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    trainer, tokenizer, parent, settings = train(str(file), lora=lora)
    save_final(trainer, tokenizer, tmp_path / "final", settings, parent, lineage=[])
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "final")
    expected = logits(trainer.model, tokenizer)
    assert (logits(loaded, AutoTokenizer.from_pretrained(tmp_path / "final")) - expected).abs().max() < 1e-4
    assert not hasattr(loaded.config, "quantization_config")
    if lora:
        again = resolve(str(tmp_path / "adapter"))
        assert (again.gguf_file, len(again.adapters)) == (file.name, 1)
        assert (logits(load_model(again, FLOAT32, tokenizer), tokenizer) - expected).abs().max() < 1e-4


def test_an_adapter_alone_needs_a_base_that_others_can_load(file):
    settings = Model.model_validate({"lora": {}, "save": "adapter"})
    with pytest.raises(UserError, match="GGUF"):
        load_model(resolve(str(file)), settings, load_tokenizer(resolve(str(file)), FLOAT32))


def test_missing_package(file, monkeypatch):
    monkeypatch.setattr("posttrain.model.resolve.find_spec", lambda name: None)
    with pytest.raises(UserError, match="needs the package gguf") as error:
        resolve(str(file), where="sft.yaml:3 model.path")
    assert error.value.where == "sft.yaml:3 model.path"
    assert "posttrain[gguf]" in str(error.value)


def test_a_file_cut_short(file, tmp_path):
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(file.read_bytes()[:200_000])
    with pytest.raises(UserError, match="cannot be loaded"):
        load_model(resolve(str(cut)), FLOAT32, load_tokenizer(resolve("builtin:tiny"), FLOAT32))
