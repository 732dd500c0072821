# ruff: noqa: RUF001  (DeepSeek's tokens are spelled with a full-width bar)
"""The trained text of a row, for the templates of nine families, against what a person marks by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from posttrain.data.masks import IGNORED, labels_of
from posttrain.data.records import Chat
from posttrain.data.template import end_of_turn_id, probe_turns
from posttrain.data.tokenize import tokenize_chats
from posttrain.errors import UserError


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **more}


SYSTEM = {"role": "system", "content": "the system"}
CALL = {"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}
RESULT = {"role": "tool", "name": "f", "content": "42"}

SINGLE = [user("hi"), assistant("yes, you")]
MULTI = [SYSTEM, user("hi"), assistant("one"), user("more"), assistant("two")]
CALLS = [
    user("hi"),
    assistant("", tool_calls=[CALL]),
    RESULT,
    assistant("it is 42"),
    user("ok"),
    assistant("bye"),
]
THINK = [
    user("hi"),
    assistant("<think>\nr1\n</think>\n\none"),
    user("more"),
    assistant("<think>\nr2\n</think>\n\ntwo"),
]
MASKED = [user("hi"), assistant("one", weight=0), user("more"), assistant("two")]
ONLY_FIRST = [user("hi"), assistant("one"), user("more"), assistant("two", weight=0)]
REPEATED = [user("yes"), assistant("yes"), user("yes"), assistant("yes")]

EMPTY_THOUGHT = "<think>\n\n</think>\n\n"
QWEN_CALL = '<tool_call>\n{"name": "f", "arguments": {"x": 1}}\n</tool_call><|im_end|>\n'
DEEPSEEK_CALL = (
    '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{"x": 1}\n```'
    "<｜tool▁call▁end｜><｜tool▁calls▁end｜><｜end▁of▁sentence｜>"
)
FINAL = "<|channel|>final<|message|>"

BY_HAND: list[tuple[str, list[dict[str, Any]], list[str]]] = [
    ("qwen2.5", SINGLE, ["yes, you<|im_end|>\n"]),
    ("qwen2.5", MULTI, ["one<|im_end|>\n", "two<|im_end|>\n"]),
    ("qwen2.5", CALLS, [QWEN_CALL, "it is 42<|im_end|>\n", "bye<|im_end|>\n"]),
    ("qwen2.5", MASKED, ["two<|im_end|>\n"]),
    ("qwen2.5", ONLY_FIRST, ["one<|im_end|>\n"]),
    ("qwen2.5", REPEATED, ["yes<|im_end|>\n", "yes<|im_end|>\n"]),
    ("qwen3", SINGLE, [EMPTY_THOUGHT + "yes, you<|im_end|>\n"]),
    ("qwen3", MULTI, ["one<|im_end|>\n", EMPTY_THOUGHT + "two<|im_end|>\n"]),
    ("qwen3", THINK, ["one<|im_end|>\n", "<think>\nr2\n</think>\n\ntwo<|im_end|>\n"]),
    ("qwen3", CALLS, [QWEN_CALL, "it is 42<|im_end|>\n", EMPTY_THOUGHT + "bye<|im_end|>\n"]),
    ("qwen3", REPEATED, ["yes<|im_end|>\n", EMPTY_THOUGHT + "yes<|im_end|>\n"]),
    ("qwen3", ONLY_FIRST, ["one<|im_end|>\n"]),
    ("llama3", SINGLE, ["yes, you<|eot_id|>"]),
    ("llama3", MULTI, ["one<|eot_id|>", "two<|eot_id|>"]),
    ("llama3.2", MULTI, ["one<|eot_id|>", "two<|eot_id|>"]),
    ("llama3.2", CALLS, ['{"name": "f", "parameters": {"x": 1}}<|eot_id|>',
                         "it is 42<|eot_id|>", "bye<|eot_id|>"]),
    ("gemma3", SINGLE, ["yes, you<end_of_turn>\n"]),
    ("gemma3", MULTI, ["one<end_of_turn>\n", "two<end_of_turn>\n"]),
    ("phi3", SINGLE, ["yes, you<|end|>\n<|endoftext|>"]),
    ("phi3", MULTI, ["one<|end|>\n", "two<|end|>\n<|endoftext|>"]),
    ("gptoss", MULTI, [FINAL + "one<|end|>", FINAL + "two<|return|>"]),
    ("gptoss", CALLS, [' to=functions.f<|channel|>commentary json<|message|>{"x": 1}<|call|>',
                       FINAL + "it is 42<|end|>", FINAL + "bye<|return|>"]),
    ("deepseekv3", MULTI, ["one<｜end▁of▁sentence｜>", "two<｜end▁of▁sentence｜>"]),
    ("deepseekv3", CALLS, [DEEPSEEK_CALL, "it is 42<｜end▁of▁sentence｜>", "bye<｜end▁of▁sentence｜>"]),
]  # fmt: skip


def trained_texts(tokenizer: Any, messages: list[dict[str, Any]]) -> list[str]:
    row = tokenize_chats([Chat(messages, None, "rows.jsonl:3")], tokenizer, max_length=None).rows[0]
    runs: list[list[int]] = [[]]
    for token, label in zip(row["input_ids"], row["labels"], strict=True):
        assert label in (token, IGNORED)
        if label != IGNORED:
            runs[-1].append(label)
        elif runs[-1]:
            runs.append([])
    return [tokenizer.decode(run) for run in runs if run]


@pytest.mark.parametrize(("name", "messages", "marked"), BY_HAND)
def test_the_trained_text_is_what_a_person_marks(
    family: Callable[[str], Any], name: str, messages: list[dict[str, Any]], marked: list[str]
) -> None:
    assert trained_texts(family(name), messages) == marked


@pytest.mark.parametrize("name", ["qwen3", "llama3", "gemma3", "phi3"])
@pytest.mark.parametrize("messages", [SINGLE, MULTI])
@pytest.mark.parametrize("marks", [False, True])
def test_equal_to_the_mask_of_the_training_templates_of_trl(
    family: Callable[[str], Any],
    training_family: Callable[[str], Any],
    name: str,
    messages: list[dict[str, Any]],
    marks: bool,
) -> None:
    """Rendered with the plain template (prefixes) and with the training template (its marks)."""
    training = training_family(name)
    expected = training.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
    tokenizer = training if marks else family(name)
    if name == "qwen3" and not marks:  # TRL's version writes thoughts into earlier turns too; the model's does not
        messages = messages if messages is SINGLE else MULTI[:3]
        expected = training.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
    row = tokenize_chats([Chat(messages)], tokenizer, max_length=None).rows[0]
    assert row["input_ids"] == expected["input_ids"]
    assert [int(label != IGNORED) for label in row["labels"]] == expected["assistant_masks"]


def test_the_generation_prompt_is_not_trained_where_trl_trains_its_newline(
    family: Callable[[str], Any], training_family: Callable[[str], Any]
) -> None:
    """TRL marks the newline after `assistant` in Qwen2.5, which the generation prompt already writes."""
    assert trained_texts(training_family("qwen2.5"), SINGLE) == ["yes, you<|im_end|>\n"]
    assert trained_texts(family("qwen2.5"), SINGLE) == ["yes, you<|im_end|>\n"]


CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' %}BODY{% else %}{{ m.content }}<|im_end|>{% endif %}{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
SPECIALS = ["<|im_end|>", "<|im_start|>"]


@pytest.mark.parametrize(
    "body",
    [
        "{{ m.content }}<|im_end|>",
        "{% generation %}{% endgeneration %}{{ m.content }}<|im_end|>",  # marks nothing
        "{% generation %}{{ m.content }}{% endgeneration %}<|im_end|>",  # leaves out the end of the turn
        "{% generation %}{{ m.content[:2] }}{% endgeneration %}{{ m.content[2:] }}<|im_end|>",  # a part
    ],
)
def test_marks_that_do_not_cover_the_turn_are_not_taken(make_tokenizer: Callable[..., Any], body: str) -> None:
    tokenizer = make_tokenizer(CHATML.replace("BODY", body), SPECIALS)
    assert trained_texts(tokenizer, MULTI) == ["one<|im_end|>\n", "two<|im_end|>\n"]
    assert trained_texts(tokenizer, MASKED) == ["two<|im_end|>\n"]


def test_marks_that_cover_the_turn_are_taken(make_tokenizer: Callable[..., Any]) -> None:
    body = "{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}"
    tokenizer = make_tokenizer(CHATML.replace("BODY", body), SPECIALS)
    assert trained_texts(tokenizer, MULTI) == ["one<|im_end|>", "two<|im_end|>"]
    assert trained_texts(tokenizer, ONLY_FIRST) == ["one<|im_end|>"]


@pytest.mark.parametrize(
    ("body", "specials", "said"),
    [
        ("{{ m.content }}", SPECIALS, "would never stop"),
        ("{{ m.content }}</s>", SPECIALS, "would never stop"),  # no token of this tokenizer
        ("{{ m.content[:3] }}<|im_end|>", SPECIALS, "leaves out or changes an assistant turn"),
        (
            "{{ raise_exception('no ' + m.content) if m.content == 'one' }}{{ m.content }}<|im_end|>",
            SPECIALS,
            "no one",
        ),
    ],
)
def test_templates_that_would_teach_the_wrong_thing(
    make_tokenizer: Callable[..., Any], body: str, specials: list[str], said: str
) -> None:
    tokenizer = make_tokenizer(CHATML.replace("BODY", body), specials)
    with pytest.raises(UserError, match=said):
        trained_texts(tokenizer, [user("hi"), assistant("one"), user("x"), assistant("four")])


@pytest.mark.parametrize(
    ("name", "messages", "said"),
    [
        ("llama3", CALLS, "leaves out the call of f"),
        ("phi3", CALLS, "leaves out turn 2"),
        ("gemma3", [user("hi"), user("there"), assistant("a")], "roles must alternate"),
    ],
)
def test_rows_that_a_template_cannot_hold(
    family: Callable[[str], Any], name: str, messages: list[dict[str, Any]], said: str
) -> None:
    with pytest.raises(UserError, match=said) as caught:
        trained_texts(family(name), messages)
    assert caught.value.where == "rows.jsonl:3"


def test_no_chat_template(make_tokenizer: Callable[..., Any]) -> None:
    with pytest.raises(UserError, match="no chat template"):
        trained_texts(make_tokenizer(None, SPECIALS), SINGLE)


def test_what_ends_a_turn(family: Callable[[str], Any]) -> None:
    ends = {"qwen3": "<|im_end|>", "llama3": "<|eot_id|>", "gemma3": "<end_of_turn>", "gptoss": "<|return|>"}
    for name, end in ends.items():
        assert probe_turns(family(name)).end == end
    assert family("phi3").eos_token == "<|endoftext|>"  # the token that ends its turns is another
    assert end_of_turn_id(family("phi3")) == family("phi3").convert_tokens_to_ids("<|end|>")


def test_labels_from_offsets() -> None:
    # characters:      a b [c d e] f;  tokens: "ab", "c", "d" a trimmed blank, "e", "f"
    offsets = [(0, 2), (2, 3), (4, 4), (4, 5), (5, 6)]
    assert labels_of([1, 2, 3, 4, 5], offsets, [(2, 5)]) == [-100, 2, 3, 4, -100]
    assert labels_of([1, 2, 3], [(0, 2), (2, 4), (4, 6)], [(1, 3)]) == [
        1,
        2,
        -100,
    ]  # tokens across both bounds
    assert labels_of([1, 2, 3], [(0, 1), (0, 1), (1, 2)], [(0, 1)]) == [
        1,
        2,
        -100,
    ]  # one character, two tokens
    assert labels_of([1, 2, 3], [(0, 1), (1, 2), (2, 3)], [(0, 1), (2, 3)]) == [1, -100, 3]


def test_trimmed_offsets_and_blanks_at_the_bounds(make_tokenizer: Callable[..., Any]) -> None:
    tokenizer = make_tokenizer(CHATML.replace("BODY", "{{ m.content }}<|im_end|>"), SPECIALS, trim_offsets=True)
    spaced = [user("  hi  "), assistant("  the answer  "), user("  "), assistant("☃ é  ")]
    assert trained_texts(tokenizer, spaced) == ["  the answer  <|im_end|>\n", "☃ é  <|im_end|>\n"]


def test_a_tokenizer_without_offsets() -> None:
    from transformers import ByT5Tokenizer

    tokenizer = ByT5Tokenizer(chat_template=CHATML.replace("BODY", "{{ m.content }}</s>"))
    assert not tokenizer.is_fast
    assert trained_texts(tokenizer, MULTI) == ["one</s>", "two</s>"]  # it swallows the newline
