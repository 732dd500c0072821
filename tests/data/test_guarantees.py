"""What users of other tools complain of and cannot happen here: masks of nothing, double BOS, lost tool columns."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from posttrain.data.load import load_data
from posttrain.data.masks import IGNORED
from posttrain.data.records import Chat, Feedback, Preference, Problem
from posttrain.data.template import end_of_turn_id, probe_turns
from posttrain.data.tokenize import (
    refuse_nothing_kept,
    tokenize_chats,
    tokenize_feedback,
    tokenize_preferences,
    tokenize_problems,
)
from posttrain.errors import UserError
from posttrain.recipe.schema import Data

WITH_BOS = ["llama3", "llama3.1", "llama3.2", "gemma3", "mistral-v0.3", "ministral-3", "deepseekv3"]
ALL = ["llama3.1", "llama3.2", "qwen2.5", "qwen3", "qwen3-2507", "gemma3", "mistral-v0.3", "ministral-3", "phi3.5",
       "phi4", "smollm2", "smollm3", "gptoss", "olmo2", "olmo3"]  # fmt: skip
ASKED = [{"role": "user", "content": "hi"}]
YES, NO = {"role": "assistant", "content": "yes"}, {"role": "assistant", "content": "no, never"}


def rows_of(tokenizer: Any) -> dict[str, list[int]]:
    """The first token row of each stage, prompt and answer together."""
    pair = tokenize_preferences([Preference(ASKED, [YES], [NO])], tokenizer, max_length=None).rows[0]
    thumb = tokenize_feedback([Feedback(ASKED, [YES], True)], tokenizer, max_length=None).rows[0]
    return {
        "sft": tokenize_chats([Chat([*ASKED, YES])], tokenizer, max_length=None).rows[0]["input_ids"],
        "chosen": pair["prompt_ids"] + pair["chosen_ids"],
        "rejected": pair["prompt_ids"] + pair["rejected_ids"],
        "kto": thumb["prompt_ids"] + thumb["completion_ids"],
        "sampling": tokenize_problems([Problem(ASKED)], tokenizer, max_prompt_tokens=None).rows[0]["prompt_ids"],
    }


@pytest.mark.parametrize("name", WITH_BOS)
def test_one_bos_in_every_stage_and_in_the_sampling_prompt(family: Callable[[str], Any], name: str) -> None:
    tokenizer = family(name)
    text = tokenizer.apply_chat_template(ASKED, tokenize=False)
    assert tokenizer(text)["input_ids"][:2] == [tokenizer.bos_token_id] * 2  # the trap: it adds one of its own
    for ids in rows_of(tokenizer).values():
        assert ids[0] == tokenizer.bos_token_id
        assert ids.count(tokenizer.bos_token_id) == 1


@pytest.mark.parametrize("name", ALL)
def test_no_row_has_an_empty_mask_and_the_end_is_trained(family: Callable[[str], Any], name: str) -> None:
    tokenizer = family(name)
    chat = Chat([*ASKED, YES, {"role": "user", "content": "more"}, NO])
    labels = tokenize_chats([chat], tokenizer, max_length=None).rows[0]["labels"]
    stops = set(tokenizer.convert_tokens_to_ids(list(probe_turns(tokenizer).stops)))
    trained = [label for label in labels if label != IGNORED]
    assert sum(label in stops for label in trained) >= 2
    assert end_of_turn_id(tokenizer) in trained
    rows = rows_of(tokenizer)
    assert all(stops & set(rows[part][-3:]) for part in ("chosen", "rejected", "kto"))


def test_padding_with_the_end_token_does_not_mask_the_end(family: Callable[[str], Any]) -> None:
    """Labels are made from characters, not by comparing ids with the padding token."""
    tokenizer = family("qwen2.5")
    before = tokenizer.pad_token
    tokenizer.pad_token = tokenizer.eos_token
    labels = tokenize_chats([Chat([*ASKED, YES])], tokenizer, max_length=None).rows[0]["labels"]
    tokenizer.pad_token = before
    assert tokenizer.eos_token_id in labels


def test_a_cut_that_takes_every_label_is_counted_and_refused(family: Callable[[str], Any]) -> None:
    done = tokenize_chats([Chat([*ASKED, YES])], family("qwen2.5"), max_length=5)
    assert done.rows == [] and done.dropped.total() == 1
    with pytest.raises(UserError, match="no row is left to train on"):
        refuse_nothing_kept(done)


def test_a_pair_whose_prompt_the_template_writes_otherwise_is_refused(family: Callable[[str], Any]) -> None:
    """Mistral v0.3 writes a system turn in prompts alone: the pair's answers would lack it."""
    system = {"role": "system", "content": "the system"}
    with pytest.raises(UserError, match="leaves out the system turn"):
        tokenize_preferences(
            [Preference([system, *ASKED], [YES], [NO], None, "p")], family("mistral-v0.3"), max_length=None
        )


def test_tools_that_a_template_ignores_are_refused_in_every_stage(family: Callable[[str], Any]) -> None:
    tools = [{"type": "function", "function": {"name": "hi", "parameters": {}}}]  # its name stands in the text
    tokenizer = family("phi4")
    for tokenize, record in (
        (tokenize_chats, Chat([*ASKED, YES], tools, "p")),
        (tokenize_preferences, Preference(ASKED, [YES], [NO], tools, "p")),
        (tokenize_feedback, Feedback(ASKED, [YES], True, tools, "p")),
    ):
        with pytest.raises(UserError, match="leaves out the tools: hi is not shown"):
            tokenize([record], tokenizer, max_length=None)  # type: ignore[operator]


def call(name: str, arguments: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


def tool(name: str, properties: dict[str, Any]) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


CALLS = [("find", {"city": "Paris"}), ("add", {"x": 1, "y": [2, None]}), ("stop", {})]
SCHEMAS = [
    [tool("find", {"city": {"type": "string"}})],
    [tool("add", {"x": {"type": "integer", "enum": [1, 2]}, "y": {"type": "array"}})],
    [tool("stop", {})],
]


def tool_row(name: str, arguments: dict[str, Any], tools: Any, as_text: bool) -> dict[str, Any]:
    made = json.dumps(arguments) if as_text else arguments
    result = {"role": "tool", "content": [{"type": "text", "text": "o"}, {"type": "text", "text": "k"}]}
    messages = [{"role": "developer", "content": "rules"}, {"role": "user", "content": name}]
    messages += [{"role": "assistant", "content": None, "tool_calls": [call(name, made)]}, result, YES]  # type: ignore[list-item]
    if as_text:  # content lists beside texts have no Arrow type
        result["content"] = "ok"
    return {"messages": messages, "tools": json.dumps(tools) if as_text else tools}


def test_tool_columns_survive_parquet(tmp_path: Path) -> None:
    """Argument keys and schemas that differ between rows gain no nulls: as JSON text, and as Arrow's structs."""
    import pyarrow as pa
    from pyarrow import parquet

    expected = [
        Chat(
            [
                {"role": "system", "content": "rules"},
                {"role": "user", "content": name},
                {"role": "assistant", "content": "", "tool_calls": [call(name, arguments)]},
                {"role": "tool", "content": "ok"},
                YES,
            ],
            schema,
        )
        for (name, arguments), schema in zip(CALLS, SCHEMAS, strict=True)
    ]
    shapes = {"text": True, "struct": False}
    for shape, as_text in shapes.items():
        rows = [
            tool_row(name, arguments, schema, as_text) for (name, arguments), schema in zip(CALLS, SCHEMAS, strict=True)
        ]
        lines = tmp_path / f"{shape}.jsonl"
        lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
        paths = [lines]
        if as_text:
            paths.append(tmp_path / "text.parquet")
            parquet.write_table(pa.Table.from_pylist(rows), paths[-1])
        else:
            for row in rows:
                row["messages"][3]["content"] = "ok"
            paths.append(tmp_path / "struct.parquet")
            parquet.write_table(pa.Table.from_pylist(rows), paths[-1])
        for path in paths:
            read = list(load_data(Data(train=[{"path": str(path)}]), "sft", seed=1).train)
            found = sorted(((chat.messages, chat.tools) for chat in read), key=json.dumps)  # type: ignore[union-attr]
            wanted = [(chat.messages, chat.tools) for chat in expected]
            if path.name == "struct.parquet":  # an empty object has no keys that Arrow keeps apart from none
                assert [messages[2]["tool_calls"] for messages, _ in found] == [
                    messages[2]["tool_calls"] for messages, _ in sorted(wanted, key=json.dumps)
                ]
                continue
            assert found == sorted(wanted, key=json.dumps), path.name
