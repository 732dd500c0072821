"""The shipped model: a standard architecture, tokenizer and template, and a few MB at most."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from posttrain.builtin import TINY
from posttrain.builtin.train import IGNORED, encode, train
from posttrain.graders.number import final_number

DATA = Path(__file__).parents[2] / "recipes" / "quickstart" / "data"

CHAT = [
    {"role": "system", "content": "Be kind and brief."},
    {"role": "user", "content": "Name 2 fruits."},
    {"role": "assistant", "content": "plum, fig."},
    {"role": "user", "content": "Which day comes after Monday?"},
    {"role": "assistant", "content": "Tuesday."},
]


@pytest.fixture(scope="module")
def tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(TINY)


def test_it_is_small():
    assert sum(path.stat().st_size for path in TINY.iterdir()) < 5_000_000


def test_it_loads_as_a_tied_llama():
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(TINY)
    assert type(model).__name__ == "LlamaForCausalLM"
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert 800_000 < sum(p.numel() for p in model.parameters()) < 1_500_000


def test_template_is_chatml(tokenizer):
    text = tokenizer.apply_chat_template(CHAT[:2], tokenize=False, add_generation_prompt=True)
    assert text == (
        "<|im_start|>system\nBe kind and brief.<|im_end|>\n"
        "<|im_start|>user\nName 2 fruits.<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_special_tokens(tokenizer):
    ids = tokenizer.convert_tokens_to_ids(["<|pad|>", "<|im_start|>", "<|im_end|>"])
    assert [tokenizer.pad_token_id, tokenizer.eos_token_id] == [ids[0], ids[2]]
    assert len(set(ids)) == 3
    assert tokenizer.decode(tokenizer("<|im_start|>Hi<|im_end|>").input_ids, skip_special_tokens=True) == "Hi"


@pytest.mark.parametrize("text", ["23+10=33", "Äpfel 苹果 🍎\n\n\ttab", " two  spaces ", "<|im_end|>"])
def test_any_text_survives(tokenizer, text):
    assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_digits_are_single_tokens(tokenizer):
    assert tokenizer.tokenize("2037") == ["2", "0", "3", "7"]


def test_training_rows_are_the_template_and_keep_replies_alone(tokenizer):
    ids, labels = encode(tokenizer, CHAT)
    assert ids == tokenizer.apply_chat_template(CHAT, return_dict=True)["input_ids"]
    kept = [label for label in labels if label != IGNORED]
    assert tokenizer.decode(kept) == "plum, fig.<|im_end|>Tuesday.<|im_end|>"


def test_the_training_script_writes_a_model_that_loads(tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    train(tmp_path, steps=2, batch_size=4, peak=1e-3, seed=1, clean=0.5)
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert model.config.vocab_size == len(AutoTokenizer.from_pretrained(tmp_path))


def test_the_tokenizer_can_be_made_again(tokenizer, tmp_path):
    train(tmp_path, steps=0, batch_size=4, peak=1e-3, seed=1, clean=0.5)
    assert (tmp_path / "tokenizer.json").read_bytes() == (TINY / "tokenizer.json").read_bytes()


@pytest.mark.slow
def test_it_can_do_its_sums_and_often_does_not(tokenizer):
    """pass@1 and pass@8 on the dev problems, by transformers' own generate and the number grader."""
    import torch
    from transformers import AutoModelForCausalLM

    problems = [json.loads(line) for line in (DATA / "dev.jsonl").read_text().splitlines()]
    chats = [[{"role": "user", "content": problem["prompt"]}] for problem in problems]
    tokenizer.padding_side = "left"
    batch = tokenizer.apply_chat_template(
        chats, add_generation_prompt=True, padding=True, return_dict=True, return_tensors="pt"
    )
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(TINY)
    ids = model.generate(**batch, num_return_sequences=8, max_new_tokens=56, top_k=0)
    texts = tokenizer.batch_decode(ids[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
    passed = torch.tensor(
        [final_number(text)[0] == int(problems[i // 8]["answer"]) for i, text in enumerate(texts)]
    ).view(-1, 8)
    assert 0.2 < passed.float().mean() < 0.4
    assert passed.any(dim=1).float().mean() > 0.85
