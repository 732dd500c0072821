# ruff: noqa: RUF001  (DeepSeek's tokens are spelled with a full-width bar)
"""Small real tokenizers with the special tokens of a model family and a chat template."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

LLAMA = ["<|eot_id|>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|end_of_text|>"]
LLAMA_TOOLS = [*LLAMA, "<|eom_id|>", "<|python_tag|>"]
QWEN = ["<|im_end|>", "<|im_start|>", "<|endoftext|>"]
QWEN_TAGS = ["<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"]
MISTRAL = ["</s>", "<s>", "[INST]", "[/INST]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]",
           "[TOOL_RESULTS]", "[/TOOL_RESULTS]"]  # fmt: skip

# family: the template (TRL's, or written in templates/), and its models' special tokens, end of text first
FAMILIES: dict[str, tuple[str, list[str]]] = {
    "chatml": ("qwen2_5", ["<|im_end|>", "<|im_start|>"]),
    "qwen2.5": ("qwen2_5", QWEN),
    "qwen3": ("qwen3", QWEN),
    "qwen3-2507": ("qwen3_instruct_2507", QWEN),
    "llama3": ("llama3", LLAMA[:4]),
    "llama3.1": ("llama3_1", LLAMA_TOOLS),
    "llama3.2": ("llama3_2", LLAMA_TOOLS),
    "llama3.3": ("llama3_1", LLAMA_TOOLS),  # the same template as 3.1
    "gemma3": ("gemma3", ["<end_of_turn>", "<bos>", "<start_of_turn>", "<eos>"]),
    "mistral-v0.3": ("mistral_v3", MISTRAL),
    "ministral-3": ("ministral_3", [*MISTRAL, "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[ARGS]"]),
    "phi3": ("phi3", ["<|endoftext|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>"]),
    "phi3.5": ("phi3_5", ["<|endoftext|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>"]),
    "phi4": ("phi_4", ["<|im_end|>", "<|im_start|>", "<|im_sep|>", "<|endoftext|>"]),
    "smollm2": ("smollm2", QWEN),
    "smollm3": ("smollm3", [*QWEN, "<|begin_of_text|>"]),
    "gptoss": (
        "gptoss",
        ["<|return|>", "<|startoftext|>", "<|start|>", "<|message|>", "<|channel|>", "<|end|>", "<|call|>"],
    ),
    "olmo2": ("olmo_2", ["<|endoftext|>", "<|user|>", "<|assistant|>", "<|system|>"]),
    "olmo3": ("olmo_3", ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]),
    "deepseekv3": (
        "deepseekv3",
        ["<｜end▁of▁sentence｜>", "<｜begin▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"],
    ),
}
BOS = {"<|begin_of_text|>", "<bos>", "<s>", "<｜begin▁of▁sentence｜>"}
TEMPLATES = Path(__file__).parent / "templates"


def stock_template(name: str) -> str:
    written = TEMPLATES / f"{name}.jinja"
    if written.exists():
        return written.read_text(encoding="utf-8")
    return (files("trl") / "chat_templates" / f"{name}.jinja").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def make_tokenizer() -> Callable[..., Any]:
    """Make a byte-level BPE tokenizer: `template` in Jinja, `specials` with the end-of-text token first."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    def make(template: str, specials: list[str], *, trim_offsets: bool = False, bos: str | None = None) -> Any:
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
        bos = bos or next((token for token in specials if token in BOS), None)
        if bos:  # as the real tokenizers do, where they are asked for special tokens
            begin = processors.TemplateProcessing(single=f"{bos} $A", special_tokens=[(bos, specials.index(bos))])
            tokenizer.post_processor = processors.Sequence([tokenizer.post_processor, begin])
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
            bos = specials[0] if name == "olmo2" else None  # one token begins and ends its texts
            made[name] = make_tokenizer(stock_template(template), specials, bos=bos)
        return made[name]

    return get


@pytest.fixture(scope="session")
def training_family(make_tokenizer: Callable[..., Any]) -> Callable[[str], Any]:
    """The same tokenizer with TRL's training template, which marks the assistant's turns."""

    def get(name: str) -> Any:
        template, specials = FAMILIES[name]
        return make_tokenizer(stock_template(f"{template}_training"), specials)

    return get
