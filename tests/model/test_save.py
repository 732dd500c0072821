from __future__ import annotations

import json

import pytest
import torch
from peft import AutoPeftModelForCausalLM
from transformers import AutoModelForCausalLM, AutoTokenizer

from posttrain.errors import UserError
from posttrain.model.load import load_model
from posttrain.model.resolve import resolve
from posttrain.model.save import save_final
from posttrain.recipe.schema import Model

LINEAGE = [{"stage": "sft", "base_model": "builtin:tiny"}]
ADAPTERS = [
    {"r": 4},
    {"r": 4, "dora": True},
    {"r": 4, "rslora": True, "target_modules": ["q_proj", "down_proj"]},
]


def finish(trained, run):
    trainer, tokenizer, parent, settings = trained
    save_final(trainer, tokenizer, run / "final", settings, parent, lineage=LINEAGE)
    return run / "final"


def names(folder):
    return {file.name for file in folder.iterdir()}


def moved(a, b) -> float:
    return float((a - b).abs().max())


@pytest.mark.slow
def test_full_fine_tuning_is_saved_as_it_was_trained(train, logits, tmp_path):
    trained = train(learning_rate=1e-3)
    final = finish(trained, tmp_path)
    expected = logits(trained[0].model, trained[1])
    loaded = AutoModelForCausalLM.from_pretrained(final)
    assert torch.equal(logits(loaded, AutoTokenizer.from_pretrained(final)), expected)
    parent = AutoModelForCausalLM.from_pretrained(trained[2].path)
    assert moved(logits(parent, trained[1]), expected) > 0.1
    assert names(tmp_path) == {"checkpoints", "final"}


@pytest.mark.parametrize("lora", ADAPTERS)
def test_merged_weights_give_the_adapters_logits(train, logits, tmp_path, lora):
    trained = train(lora=lora)
    trainer, tokenizer = trained[:2]
    expected = logits(trainer.model, tokenizer)
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    final = finish(trained, tmp_path)
    assert moved(logits(AutoModelForCausalLM.from_pretrained(final), tokenizer), expected) < 1e-5 * expected.abs().max()
    with trainer.model.disable_adapter():
        assert moved(logits(trainer.model, tokenizer), expected) > 0.1
    after = trainer.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_kept_adapter_loads_on_its_parent(train, logits, tmp_path):
    trained = train(lora={"r": 4})
    finish(trained, tmp_path)
    expected = logits(trained[0].model, trained[1])
    assert moved(logits(AutoPeftModelForCausalLM.from_pretrained(tmp_path / "adapter"), trained[1]), expected) < 1e-5
    parent = resolve(str(tmp_path / "adapter"))
    assert parent.kind == "adapter"
    merged = load_model(parent, Model(dtype="float32"), trained[1])
    assert moved(logits(merged, trained[1]), expected) < 1e-4
    assert not hasattr(merged, "peft_config")
    assert not any("lora" in name for name, _ in merged.named_parameters())


@pytest.mark.slow
def test_an_adapter_trained_on_an_adapter(train, logits, tmp_path):
    finish(train(lora={"r": 4}), tmp_path / "one")
    second = train(str(tmp_path / "one" / "adapter"), lora={"r": 4})
    finish(second, tmp_path / "two")
    parent = resolve(str(tmp_path / "two" / "adapter"))
    assert len(parent.adapters) == 2
    model = load_model(parent, Model(dtype="float32"), second[1])
    expected = logits(second[0].model, second[1])
    assert moved(logits(model, second[1]), expected) < 1e-4
    final = AutoModelForCausalLM.from_pretrained(tmp_path / "two" / "final")
    assert moved(logits(final, second[1]), expected) < 1e-4
    alone = Model.model_validate({"lora": {}, "save": "adapter"})
    with pytest.raises(UserError, match="an adapter itself"):
        load_model(second[2], alone, second[1])


def test_adapter_alone(train, logits, tmp_path):
    trained = train(lora={"r": 4}, save="adapter")
    final = finish(trained, tmp_path)
    assert "model.safetensors" not in names(final)
    assert not (tmp_path / "adapter").exists()
    config = json.loads((final / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == trained[2].path
    loaded = AutoModelForCausalLM.from_pretrained(final)
    assert moved(logits(loaded, trained[1]), logits(trained[0].model, trained[1])) < 1e-5


@pytest.mark.parametrize("model", [{}, {"lora": {"r": 4}}, {"lora": {"r": 4}, "save": "adapter"}])
def test_what_lies_in_final(train, tmp_path, model):
    trained = train(**model)
    trained[1](["a b c", "a"], truncation=True, max_length=2, padding=True)
    final = finish(trained, tmp_path)
    assert {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "lineage.json"} <= names(final)
    assert not [name for name in names(final) if name.endswith((".bin", ".pt", ".partial"))]
    assert json.loads((final / "lineage.json").read_text()) == LINEAGE
    tokenizer = json.loads((final / "tokenizer.json").read_text())
    assert tokenizer["truncation"] is None and tokenizer["padding"] is None
    if model.get("save") != "adapter":
        assert json.loads((final / "config.json").read_text())["use_cache"] is True
        assert json.loads((final / "generation_config.json").read_text())["eos_token_id"] == [2]


def test_saving_again_replaces(train, tmp_path):
    trained = train()
    final = finish(trained, tmp_path)
    (final / "stale").touch()
    (tmp_path / "final.partial").mkdir()
    assert "stale" not in names(finish(trained, tmp_path))
    assert not (tmp_path / "final.partial").exists()


def test_lora_keeps_the_dtype_it_was_loaded_in(train, tmp_path):
    final = finish(train(lora={"r": 4}, dtype="bfloat16"), tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(final, dtype="auto")
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.bfloat16}


def test_full_weights_held_in_float32_for_autocast_are_written_in_its_dtype(train, tmp_path):
    trainer, tokenizer, parent, _ = train()
    settings = Model(dtype="float16")
    save_final(trainer, tokenizer, tmp_path / "final", settings, parent, lineage=[])
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "final", dtype="auto")
    assert loaded.dtype == torch.float16
    assert trainer.model.dtype == torch.float32


def test_an_adapter_that_diverged_is_not_merged(train, tmp_path):
    trained = train(lora={"r": 4})
    with torch.no_grad():
        next(p for name, p in trained[0].model.named_parameters() if "lora_B" in name).fill_(float("nan"))
    with pytest.raises(UserError, match="cannot be merged"):
        finish(trained, tmp_path)
    assert not (tmp_path / "final").exists()
