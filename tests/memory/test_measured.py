"""The estimate against what a run really takes: two steps of a model of 37M parameters, in a process of its own."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from posttrain.memory.forecast import forecast, longest_in, parent_of
from posttrain.memory.largest import try_rows
from posttrain.model.resolve import resolve
from posttrain.recipe.load import load_recipe

WORDS = ["how", "many", "of", "the", "things", "are", "there", "in", "the", "box", "and", "why", "is", "it", "so"]


def text(count: int) -> str:
    return " ".join(random.choice(WORDS) for _ in range(count))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a Llama of random weights, the built-in model's tokenizer, and rows of one length."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

    folder = tmp_path_factory.mktemp("measured")
    AutoTokenizer.from_pretrained(resolve("builtin:tiny").path).save_pretrained(folder / "model")
    shape: dict[str, Any] = {"hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 12, "vocab_size": 4096}
    config = LlamaConfig(**shape, num_attention_heads=8, num_key_value_heads=4, tie_word_embeddings=True)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder / "model")
    random.seed(0)
    turns = [[{"role": "user", "content": text(20)}, {"role": "assistant", "content": text(200)}] for _ in range(32)]
    pairs = [{"prompt": text(20), "chosen": text(150), "rejected": text(150)} for _ in range(32)]
    (folder / "sft.jsonl").write_text("\n".join(json.dumps({"messages": each}) for each in turns))
    (folder / "dpo.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    for stage in ("sft", "dpo"):
        recipe = {
            "stage": stage,
            "out": str(folder / stage),
            "model": {"path": str(folder / "model")},
            "data": {"train": [{"path": str(folder / f"{stage}.jsonl")}]},
        }
        (folder / f"{stage}.yaml").write_text(json.dumps(recipe))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "rows", "keys"),
    [
        ("sft", 8, []),
        ("sft", 8, ["train.gradient_checkpointing=true"]),
        ("sft", 8, ["model.lora={}"]),
        ("dpo", 4, []),
    ],
    ids=["full", "checkpointing", "lora", "dpo"],
)
def test_the_estimate_is_within_a_quarter_of_the_peak(folder: Path, stage: str, rows: int, keys: list[str]) -> None:
    """Peak growth of the process's own memory since before the model was read."""
    batch = [f"train.per_device_train_batch_size={rows}", "train.gradient_accumulation_steps=2"]
    loaded = load_recipe(folder / f"{stage}.yaml", stage=None, overrides=[*keys, *batch])
    recipe = loaded.recipe
    measured = try_rows(recipe, rows, 2, limit=8 * 10**9)
    parent = parent_of(recipe, "model.path")
    foreseen = forecast(recipe, parent, longest_in(recipe, parent, loaded.place), on_gpu=False).estimate.total
    assert measured.fits and measured.rows_a_second > 0
    assert foreseen == pytest.approx(measured.peak, rel=0.25)


@pytest.mark.slow
def test_a_try_that_takes_too_much_is_ended(folder: Path) -> None:
    recipe = load_recipe(folder / "sft.yaml", stage=None).recipe
    tried = try_rows(recipe, 8, 1, limit=200_000_000)
    assert not tried.fits and tried.peak > 200_000_000
