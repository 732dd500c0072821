"""Token rows: equal to TRL's own, cut and counted, fast."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from posttrain.data.load import load_data
from posttrain.data.masks import IGNORED
from posttrain.data.records import Chat, Feedback, Preference, Problem
from posttrain.data.tokenize import (
    refuse_nothing_kept,
    tokenize_chats,
    tokenize_feedback,
    tokenize_preferences,
    tokenize_problems,
)
from posttrain.errors import UserError
from posttrain.recipe.schema import Data

FAMILIES = ["qwen2.5", "qwen3", "llama3", "gemma3", "phi3"]


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


SYSTEM = {"role": "system", "content": "the system"}
PAIRS = [
    Preference([user("hi")], [assistant("yes")], [assistant("no")]),
    Preference([SYSTEM, user("hi"), assistant("one"), user("more")], [assistant("yes yes")], [assistant("yes no")]),
    Preference([user("a longer prompt " * 3)], [assistant("ok")], [assistant("not at all " * 9)]),
]
THUMBS = [
    Feedback(pair.prompt, answer, up) for pair in PAIRS for answer, up in ((pair.chosen, True), (pair.rejected, False))
]


def prepared_by_trl(stage: str, rows: list[dict[str, Any]], tokenizer: Any, max_length: int | None) -> list[dict]:
    """What TRL's own trainer makes of the rows."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer

    trainer, config = {"dpo": (DPOTrainer, DPOConfig), "kto": (KTOTrainer, KTOConfig)}[stage]
    args = config(max_length=max_length, bf16=False, report_to="none", use_cpu=True)
    itself = SimpleNamespace(_tokenizer=tokenizer, calculate_KL=False)
    return trainer._prepare_dataset(itself, Dataset.from_list(rows), tokenizer, args, "dev").to_list()


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("cut", [False, True])
def test_preferences_equal_those_of_trl(family: Callable[[str], Any], name: str, cut: bool) -> None:
    whole = tokenize_preferences(PAIRS, family(name), max_length=None).rows
    max_length = len(whole[2]["prompt_ids"]) if cut else None  # the last pair's prompt fills it
    rows = [{"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected} for pair in PAIRS]
    expected = prepared_by_trl("dpo", rows, family(name), max_length)
    ours = tokenize_preferences(PAIRS, family(name), max_length=max_length).rows
    keys = ("prompt_ids", "chosen_ids", "rejected_ids")
    expected = [  # TRL keeps the pairs that differ only in what its collator will cut off
        row
        for row in expected
        if (row["prompt_ids"] + row["chosen_ids"])[:max_length]
        != (row["prompt_ids"] + row["rejected_ids"])[:max_length]
    ]
    assert [tuple(row[key] for key in keys) for row in ours] == [tuple(row[key] for key in keys) for row in expected]


@pytest.mark.parametrize("name", FAMILIES)
def test_feedback_equals_that_of_trl(family: Callable[[str], Any], name: str) -> None:
    rows = [{"prompt": thumb.prompt, "completion": thumb.completion, "label": thumb.label} for thumb in THUMBS]
    expected = prepared_by_trl("kto", rows, family(name), None)
    ours = tokenize_feedback(THUMBS, family(name), max_length=None).rows
    keys = ("prompt_ids", "completion_ids", "label")
    assert [tuple(row[key] for key in keys) for row in ours] == [tuple(row[key] for key in keys) for row in expected]


def test_a_prompt_that_the_template_ends_otherwise_is_counted(make_tokenizer: Callable[..., Any]) -> None:
    template = (
        "{% for m in messages %}<|im_start|>{{ m.role }} {{ m.content }}<|im_end|>{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant <think>{% endif %}"
    )
    tokenizer = make_tokenizer(template, ["<|im_end|>", "<|im_start|>", "<think>"])
    done = tokenize_preferences(PAIRS[:1], tokenizer, max_length=None)
    assert done.summary == "kept 1 of 1: 1 with a prompt that the template ends otherwise before an answer"
    row = done.rows[0]
    assert tokenizer.decode(row["prompt_ids"] + row["chosen_ids"]).endswith("assistant yes<|im_end|>")
    assert tokenizer.decode(row["prompt_ids"]).endswith("<|im_start|>assistant ")


@pytest.mark.parametrize("name", FAMILIES)
def test_problems_end_with_the_generation_prompt_and_begin_with_one_bos(
    family: Callable[[str], Any], name: str
) -> None:
    tokenizer = family(name)
    rows = tokenize_problems([Problem([user("hi")])], tokenizer, max_prompt_tokens=None).rows
    expected = tokenizer.apply_chat_template([user("hi")], add_generation_prompt=True)["input_ids"]
    assert rows == [{"prompt_ids": expected, "index": 0}]
    for done in (
        rows[0]["prompt_ids"],
        tokenize_chats([CHAT], tokenizer, max_length=None).rows[0]["input_ids"],
    ):
        if tokenizer.bos_token_id is not None:
            assert done[0] == tokenizer.bos_token_id and done.count(tokenizer.bos_token_id) == 1


CHAT = Chat([user("hi"), assistant("yes")])


def test_chats_are_cut_at_their_end_and_counted(family: Callable[[str], Any]) -> None:
    tokenizer = family("llama3")
    chats = [CHAT, Chat([user("hi"), assistant("word " * 50)]), Chat([user("hi " * 50), assistant("yes")])]
    whole = tokenize_chats(chats, tokenizer, max_length=None)
    assert (whole.kept, whole.total, whole.truncated, whole.summary) == (3, 3, 0, "kept 3 of 3")
    cut = tokenize_chats(chats, tokenizer, max_length=30)
    assert (cut.kept, cut.total, cut.truncated, cut.dropped) == (2, 3, 1, {"had no trained token": 1})
    assert cut.summary == "kept 2 of 3: 1 truncated, 1 had no trained token"
    for long, short in zip(whole.rows, cut.rows, strict=False):
        assert short == {"index": long["index"], "input_ids": long["input_ids"][:30], "labels": long["labels"][:30]}


def test_pairs_that_teach_nothing_once_cut_are_left_out(family: Callable[[str], Any]) -> None:
    tokenizer = family("llama3")
    start = "word " * 30
    pairs = [
        PAIRS[0],
        Preference([user("hi")], [assistant(start + "a")], [assistant(start + "b")]),
        Preference([user(start)], [assistant("a")], [assistant("b")]),
        Preference([user("hi")], [assistant("a")], [assistant(start)]),
    ]
    cut = tokenize_preferences(pairs, tokenizer, max_length=30)
    assert cut.dropped == {"differed only after max_length": 1, "had a prompt that fills max_length": 1}
    assert (cut.kept, cut.truncated) == (2, 1)
    assert len(cut.rows[1]["rejected_ids"]) > 30  # the collator cuts


def test_no_row_left_is_an_error(family: Callable[[str], Any]) -> None:
    tokenizer = family("llama3")
    with pytest.raises(UserError, match="no row is left to train on: kept 0 of 1: 1 had no trained token"):
        refuse_nothing_kept(tokenize_chats([CHAT], tokenizer, max_length=3))
    with pytest.raises(UserError, match="fills max_length"):
        refuse_nothing_kept(tokenize_preferences(PAIRS, tokenizer, max_length=3))
    with pytest.raises(UserError, match="fills max_length"):
        refuse_nothing_kept(tokenize_feedback(THUMBS, tokenizer, max_length=3))
    with pytest.raises(UserError, match="had a prompt above 3 tokens"):
        refuse_nothing_kept(tokenize_problems([Problem([user("hi")])], tokenizer, max_prompt_tokens=3))
    refuse_nothing_kept(tokenize_chats([], tokenizer, max_length=3))
    assert tokenize_chats([], tokenizer, max_length=3).rows == []


def test_an_answer_without_an_end_is_refused_in_every_stage(make_tokenizer: Callable[..., Any]) -> None:
    template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n\n{% endfor %}assistant:"
    tokenizer = make_tokenizer(template, ["</s>"])
    for tokenize, records in (
        (tokenize_chats, [CHAT]),
        (tokenize_preferences, PAIRS),
        (tokenize_feedback, THUMBS),
    ):
        with pytest.raises(UserError, match="would never stop"):
            tokenize(records, tokenizer, max_length=None)  # type: ignore[operator]


@pytest.mark.slow
def test_real_tool_calls_are_trained_and_tools_are_shown(family: Callable[[str], Any], shared_data: Path) -> None:
    source = {"path": str(shared_data / "sft/zava_sft_test.jsonl.gz")}
    records = load_data(Data(train=[source]), "sft", seed=1).train
    chats = [record for record in records if isinstance(record, Chat)]
    tokenizer = family("qwen2.5")
    done = tokenize_chats(chats, tokenizer, max_length=None)
    assert done.kept == 103
    for chat, row in zip(chats, done.rows, strict=True):
        trained = tokenizer.decode([label for label in row["labels"] if label != IGNORED])
        said = [message for message in chat.messages if message["role"] == "assistant"]
        assert trained.count("<|im_end|>") == len(said)
        assert trained.count("<tool_call>") == sum(len(message.get("tool_calls", ())) for message in said)
        assert "# Tools" in tokenizer.decode(row["input_ids"])


def test_a_thousand_short_rows_take_well_under_a_second(family: Callable[[str], Any]) -> None:
    tokenizer = family("qwen2.5")
    chats = [Chat([user(f"what is {index} + 1?"), assistant(f"it is {index + 1}")]) for index in range(1000)]
    tokenize_chats(chats[:2], tokenizer, max_length=512)
    start = time.process_time()
    tokenize_chats(chats, tokenizer, max_length=512)
    assert time.process_time() - start < 2  # about 0.3 on an idle core
