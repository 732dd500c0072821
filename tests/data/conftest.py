# ruff: noqa: RUF001  (DeepSeek's tokens are spelled with a full-width bar)
"""Small real tokenizers with the special tokens of a model family and a chat template."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from typing import Any

import pytest

# family: the template shipped with TRL, and the special tokens that its models have, end of text first
FAMILIES: dict[str, tuple[str, list[str]]] = {
    "chatml": ("qwen2_5", ["<|im_end|>", "<|im_start|>"]),
    "qwen2.5": ("qwen2_5", ["<|im_end|>", "<|im_start|>", "<|endoftext|>"]),
    "qwen3": ("qwen3", ["<|im_end|>", "<|im_start|>", "<|endoftext|>"]),
    "llama3": ("llama3", ["<|eot_id|>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>"]),
    "llama3.2": ("llama3_2", ["<|eot_id|>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>"]),
    "gemma3": ("gemma3", ["<end_of_turn>", "<bos>", "<start_of_turn>", "<eos>"]),
    "phi3": ("phi3", ["<|endoftext|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>"]),
    "gptoss": ("gptoss", ["<|return|>", "<|start|>", "<|message|>", "<|channel|>", "<|end|>", "<|call|>"]),
    "deepseekv3": (
        "deepseekv3",
        ["<｜end▁of▁sentence｜>", "<｜begin▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"],
    ),
}
BOS = {"<|begin_of_text|>", "<bos>", "<｜begin▁of▁sentence｜>"}


def stock_template(name: str) -> str:
    return (files("trl") / "chat_templates" / f"{name}.jinja").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def make_tokenizer() -> Callable[..., Any]:
    """Make a byte-level BPE tokenizer: `template` in Jinja, `specials` with the end-of-text token first."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    def make(template: str, specials: list[str], *, trim_offsets: bool = False) -> Any:
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=trim_offsets)
        trainer = trainers.BpeTrainer(
            vocab_size=500,
            special_tokens=specials,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        tokenizer.train_from_iterator(["the answer is what the user asked, system: \n\n hello there " * 9], trainer)
        bos = next((token for token in specials if token in BOS), None)
        made = PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, eos_token=specials[0], bos_token=bos, chat_template=template
        )
        made.add_special_tokens({"additional_special_tokens": specials})
        return made

    return make


@pytest.fixture(scope="session")
def family(make_tokenizer: Callable[..., Any]) -> Callable[[str], Any]:
    """The tokenizer of a model family by name."""
    made: dict[str, Any] = {}

    def get(name: str) -> Any:
        template, specials = FAMILIES[name]
        if name not in made:
            made[name] = make_tokenizer(stock_template(template), specials)
        return made[name]

    return get


@pytest.fixture(scope="session")
def training_family(make_tokenizer: Callable[..., Any]) -> Callable[[str], Any]:
    """The same tokenizer with TRL's training template, which marks the assistant's turns."""

    def get(name: str) -> Any:
        template, specials = FAMILIES[name]
        return make_tokenizer(stock_template(f"{template}_training"), specials)

    return get
