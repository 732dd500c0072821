"""Each turn of a rendered conversation is given to the message that said it, in the templates of the model families."""

from __future__ import annotations

from copy import deepcopy
from importlib.resources import files
from typing import Any

import pytest

from posttrain.data.template import probe_turns, render
from posttrain.inspection.turns import turn_starts

SYSTEM = {"role": "system", "content": "Be brief."}
TALK = [
    {"role": "user", "content": "2 + 2?"},
    {"role": "assistant", "content": "four"},
    {"role": "user", "content": "And twice that?"},
    {"role": "assistant", "content": "It is 8."},
]
# family: its template in TRL, its special tokens, and how its turns begin
FAMILIES: dict[str, tuple[list[str], str]] = {
    "qwen2_5": (["<|im_end|>", "<|im_start|>"], "<|im_start|>"),
    "qwen3": (["<|im_end|>", "<|im_start|>"], "<|im_start|>"),
    "llama3": (["<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"], "<|start_header_id|>"),
    "llama3_2": (["<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"], "<|start_header_id|>"),
    "gemma3": (["<end_of_turn>", "<start_of_turn>"], "<start_of_turn>"),
    "phi3": (["<|end|>", "<|user|>", "<|assistant|>", "<|system|>"], "<|"),
    "gptoss": (["<|return|>", "<|start|>", "<|message|>", "<|channel|>", "<|end|>", "<|call|>"], "<|start|>"),
}


def tokenizer_of(tiny: Any, family: str) -> Any:
    made = deepcopy(tiny)
    made.add_special_tokens({"additional_special_tokens": FAMILIES[family][0]})
    made.add_special_tokens({"bos_token": "<s>", "eos_token": FAMILIES[family][0][0]})
    made.chat_template = (files("trl") / "chat_templates" / f"{family}.jinja").read_text(encoding="utf-8")
    return made


def turns_of(tokenizer: Any, messages: list[dict[str, Any]]) -> tuple[str, list[str]]:
    text = render(tokenizer, messages)
    starts = turn_starts(tokenizer, messages, None, text, probe_turns(tokenizer))
    return text[: starts[0]], [text[a:b] for a, b in zip(starts, [*starts[1:], len(text)], strict=True)]


@pytest.mark.parametrize("family", FAMILIES)
def test_turns_hold_their_own_words_and_headers(tiny: Any, family: str) -> None:
    tokenizer = tokenizer_of(tiny, family)
    before, turns = turns_of(tokenizer, TALK)
    for turn, message in zip(turns, TALK, strict=True):
        assert [each["content"] in turn for each in TALK] == [each is message for each in TALK]
        assert turn.removeprefix("<s>").startswith(FAMILIES[family][1])
    # What Qwen 2.5, Llama 3.2 and gpt-oss write unasked.
    assert bool(before.strip()) == (family in ("qwen2_5", "llama3_2", "gptoss"))


@pytest.mark.parametrize(
    "family", sorted(set(FAMILIES) - {"gemma3"})
)  # it writes the system prompt into the user's turn
def test_a_system_prompt_is_a_turn(tiny: Any, family: str) -> None:
    _, turns = turns_of(tokenizer_of(tiny, family), [SYSTEM, *TALK])
    assert "Be brief." in turns[0] and "2 + 2?" not in turns[0]
    assert "2 + 2?" in turns[1] and "Be brief." not in turns[1]


def test_thinking_that_is_left_out_later_does_not_move_the_turns(tiny: Any) -> None:
    thought = [{**turn, "content": f"<think>\nHm, 9.\n</think>\n\n{turn['content']}"} for turn in TALK[1::2]]
    _, turns = turns_of(tokenizer_of(tiny, "qwen3"), [TALK[0], thought[0], TALK[2], thought[1]])
    assert turns[1] == "<|im_start|>assistant\nfour<|im_end|>\n"
    assert turns[2] == "<|im_start|>user\nAnd twice that?<|im_end|>\n"
    assert turns[3].startswith("<|im_start|>assistant\n<think>")
