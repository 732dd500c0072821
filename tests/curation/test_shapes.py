"""Records in every shape: what the rows are, that they read back as the same record, and what a shape refuses."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import pytest

from posttrain.curation.shapes import SHAPES, choose_shape, write_row
from posttrain.curation.shapes.shape import Unfit
from posttrain.data.formats import FORMATS
from posttrain.data.identity import content_key
from posttrain.data.read import read_rows
from posttrain.data.records import Chat, Feedback, Message, Preference, Problem, Record
from posttrain.errors import UserError

TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {"a": {}}}}}]
CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 2, "é": [None, {"x": 1.5}]}}}


def user(text: str = "2 + 2?", **more: Any) -> Message:
    return {"role": "user", "content": text, **more}


def says(text: str = "4", **more: Any) -> Message:
    return {"role": "assistant", "content": text, **more}


def system(text: str = "Be brief.") -> Message:
    return {"role": "system", "content": text}


CALLED = [
    user(),
    {"role": "assistant", "content": "", "tool_calls": [CALL | {"id": "a"}, CALL | {"id": "b"}]},
    {"role": "tool", "content": "4", "tool_call_id": "a"},
    {"role": "tool", "content": "5", "tool_call_id": "b"},
    says(),
]


def test_chat_rows() -> None:
    chat = Chat([system(), user(), says(), user("3?"), says("3")])
    assert write_row(chat, choose_shape("canonical", "sft"), "sft") == {"messages": chat.messages}
    assert write_row(chat, choose_shape("trl", "sft"), "sft") == {"messages": chat.messages}
    assert write_row(chat, choose_shape("openai", "sft"), "sft") == {"messages": chat.messages}
    assert write_row(chat, choose_shape("sharegpt", "sft"), "sft") == {
        "conversations": [
            {"from": "human", "value": "2 + 2?"},
            {"from": "gpt", "value": "4"},
            {"from": "human", "value": "3?"},
            {"from": "gpt", "value": "3"},
        ],
        "system": "Be brief.",
    }
    assert write_row(chat, choose_shape("alpaca", "sft"), "sft") == {
        "instruction": "3?",
        "input": "",
        "output": "3",
        "system": "Be brief.",
        "history": [["2 + 2?", "4"]],
    }


def test_tool_rows() -> None:
    chat = Chat(CALLED, TOOLS)
    arguments = '{"a": 2, "é": [null, {"x": 1.5}]}'
    made = write_row(chat, choose_shape("openai", "sft"), "sft")
    assert made["tools"] == TOOLS
    assert made["messages"][1] == {
        "role": "assistant",
        "tool_calls": [
            {"id": name, "type": "function", "function": {"name": "add", "arguments": arguments}} for name in "ab"
        ],
    }
    made = write_row(chat, choose_shape("sharegpt", "sft"), "sft")
    assert made["tools"].startswith('[{"type": "function"')
    assert made["conversations"][1:3] == [
        {
            "from": "function_call",
            "value": f'[{{"name": "add", "arguments": {arguments}, "id": "a"}}, '
            f'{{"name": "add", "arguments": {arguments}, "id": "b"}}]',
        },
        {"from": "observation", "value": "4", "tool_call_id": "a"},
    ]
    assert isinstance(write_row(chat, choose_shape("trl", "sft"), "sft")["tools"], str)


def test_openai_gets_ids_for_calls_that_have_none() -> None:
    turns = [user(), {"role": "assistant", "content": "", "tool_calls": [CALL, CALL]}]
    turns += [{"role": "tool", "content": "4"}, {"role": "tool", "content": "5"}, says()]
    made = write_row(Chat(turns), choose_shape("openai", "sft"), "sft")["messages"]
    assert [call["id"] for call in made[1]["tool_calls"]] == ["call_1", "call_2"]
    assert [turn["tool_call_id"] for turn in made[2:4]] == ["call_1", "call_2"]


def test_pairs_thumbs_and_problems() -> None:
    pair = Preference([system(), user()], [says()], [says("5")], TOOLS)
    assert write_row(pair, choose_shape("openai", "dpo"), "dpo") == {
        "input": {"messages": pair.prompt, "tools": TOOLS},
        "preferred_output": [says()],
        "non_preferred_output": [says("5")],
    }
    assert write_row(pair, choose_shape("sharegpt", "dpo"), "dpo") | {"tools": ""} == {
        "conversations": [{"from": "human", "value": "2 + 2?"}],
        "system": "Be brief.",
        "tools": "",
        "chosen": {"from": "gpt", "value": "4"},
        "rejected": {"from": "gpt", "value": "5"},
    }
    thumb = Feedback([user()], [says()], False)
    plain = {"prompt": [user()], "completion": [says()], "label": False}
    assert write_row(thumb, choose_shape("canonical", "kto"), "kto") == plain
    assert write_row(thumb, choose_shape("trl", "kto"), "kto") == plain
    assert write_row(thumb, choose_shape("sharegpt", "kto"), "kto") == {
        "conversations": [{"from": "human", "value": "2 + 2?"}, {"from": "gpt", "value": "4"}],
        "label": False,
    }
    problem = Problem([user()], {"target": "4", "answer": "4", "nums": [2, 2], "prompt": "2 + 2?"})
    fields = {"target": "4", "answer": "4", "nums": [2, 2]}
    assert write_row(problem, choose_shape("openai", "rlvr"), "rlvr") == {"messages": [user()]} | fields
    assert write_row(problem, choose_shape("openai_evals", "rlvr"), "rlvr") == {"item": {"messages": [user()]} | fields}
    assert write_row(problem, choose_shape("trl", "rlvr"), "rlvr") == {"prompt": [user()]} | fields


@pytest.mark.parametrize(
    ("shape", "record", "reason"),
    [
        ("alpaca", Chat(CALLED), "tools"),
        ("alpaca", Chat([user(), says()], TOOLS), "tools"),
        ("alpaca", Chat([user(), says(weight=0), user("3?"), says("3")]), "weight 0"),
        ("alpaca", Chat([user(), says(reasoning_content="Two and two.")]), "thinking"),
        ("alpaca", Chat([user(), user("3?"), says()]), "in turn"),
        ("alpaca", Chat([user(), says(), user("3?")]), "in turn"),
        ("alpaca", Chat([user(name="ann"), says()]), "something else"),
        ("alpaca", Chat([system(" "), user(), says()]), "something else"),
        ("sharegpt", Chat([user(), says(weight=0), user("3?"), says("3")]), "weight 0"),
        ("sharegpt", Chat([user(), says("Wait.", tool_calls=[CALL]), says()]), "text beside a tool call"),
        ("sharegpt", Chat([user(), says(thinking="Hm.")]), "thinking"),
        ("trl", Chat([user(), says(weight=0), user("3?"), says("3")]), "weight 0"),
        ("openai", Chat([user(), says(reasoning="Hm.")]), "thinking"),
        ("openai", Chat([user(), says(), user("3?")]), "end with the assistant"),
        ("openai", Chat([*CALLED[:2], {"role": "tool", "content": "4", "tool_call_id": "c"}, says()]), "no call"),
        ("prompt_completion", Chat([user(), says(), user("3?"), says("3")]), "only the last"),
        ("prompt_completion", Chat([user(), says(), user("3?")]), "end with the assistant"),
        ("prompt_completion", Chat([says()]), "begins with the assistant"),
        ("openai", Preference([user()], CALLED[1:], [says()]), "several turns"),
        ("sharegpt", Preference([user()], [says()], CALLED[1:]), "several turns"),
        ("sharegpt", Feedback([user()], CALLED[1:], True), "several turns"),
    ],
)
def test_what_a_shape_cannot_say_is_refused(shape: str, record: Record, reason: str) -> None:
    stage = {Chat: "sft", Preference: "dpo", Feedback: "kto"}[type(record)]
    with pytest.raises(Unfit, match=reason):
        write_row(record, choose_shape(shape, stage), stage)


def test_earlier_answers_of_weight_0_fit_prompt_and_completion() -> None:
    chat = Chat([user(), says(weight=0), user("3?"), says("3")])
    made = write_row(chat, choose_shape("prompt_completion", "sft"), "sft")
    assert (made["prompt"], made["completion"]) == (chat.messages[:3], chat.messages[3:])


def test_an_unknown_shape_and_one_without_such_rows() -> None:
    with pytest.raises(UserError, match="Did you mean 'sharegpt'"):
        choose_shape("sharegtp", "sft")
    with pytest.raises(UserError, match="openai has no rows for kto\n  These have: canonical, trl, sharegpt"):
        choose_shape("openai", "kto")


# Round trips: which pairs of shapes are seen at all is asserted, so that no pair is passed over unseen.


def generated(stage: str, rng: random.Random) -> Record:
    words = ["4", "é\n\n", " padded ", "[{not json", '{"role": "user"}', "👍", "Human: hi"]

    def text() -> str:
        return rng.choice(words) + rng.choice(words)

    def maybe(*values: Any) -> Any:
        return rng.choice([None, *values])

    opening = [system(text())] if rng.random() < 0.4 else []
    asked = [user(text(), **({"name": "ann"} if rng.random() < 0.1 else {}))]
    for _ in range(rng.choice([0, 0, 1, 2])):
        asked += [says(text()), user(text())]
    if rng.random() < 0.3:
        ids = rng.random() < 0.5
        call = CALL | ({"id": "a"} if ids else {})
        asked += [says("", tool_calls=[call]), {"role": "tool", "content": text()}]
        if ids:
            asked[-1]["tool_call_id"] = "a"
    prompt, tools = opening + asked, maybe(TOOLS)
    if stage == "sft":
        more = rng.choice([{}, {}, {"weight": 1}, {"reasoning_content": text()}])
        for turn in prompt:
            if turn["role"] == "assistant" and rng.random() < 0.3:
                turn["weight"] = 0
        return Chat([*prompt, says(text(), **more)], tools)
    if stage == "dpo":
        return Preference(prompt, [says(text())], [says(text())], tools)
    if stage == "kto":
        return Feedback(prompt, [says(text())], rng.random() < 0.5, tools)
    return Problem(
        prompt, {"target": text(), "nums": [1, {"a": None}], "answer": 4, "prompt": asked_last(prompt)}, None
    )


def asked_last(prompt: list[Message]) -> str:
    return next(turn["content"] for turn in reversed(prompt) if turn["role"] == "user")


def round_trips(records: list[Record], stage: str) -> set[tuple[str, str]]:
    """The pairs of shapes through which some record went and came back the same."""
    able = [name for name, shapes in SHAPES.items() if stage in shapes]
    seen = set()
    for record, first, second in itertools.product(records, able, able):
        between, to = choose_shape(first, stage), choose_shape(second, stage)
        try:
            row = write_row(record, between, stage)
        except Unfit:
            continue
        read = FORMATS[stage][between.reads].read(row, record.place)
        assert content_key(read) == content_key(between.normal(record))
        try:
            again = write_row(read, to, stage)
        except Unfit:
            continue
        assert content_key(FORMATS[stage][to.reads].read(again, "")) == content_key(to.normal(read))
        seen.add((first, second))
    return seen


@pytest.mark.parametrize("stage", ["sft", "dpo", "kto", "rlvr"])
def test_generated_records_go_through_every_pair_of_shapes(stage: str) -> None:
    rng = random.Random(stage)
    able = [name for name, shapes in SHAPES.items() if stage in shapes]
    records = [generated(stage, rng) for _ in range(80)]
    assert round_trips(records, stage) == set(itertools.product(able, able))


@pytest.mark.parametrize(
    ("file", "stage", "never"),
    [
        ("dpo/hh_harmless_base_test.jsonl.gz", "dpo", set()),
        ("dpo/orca_dpo_openai_format.jsonl.gz", "dpo", set()),
        ("dpo/llamafactory_dpo_en_demo.jsonl.gz", "dpo", set()),
        ("kto/llamafactory_kto_en_demo.jsonl.gz", "kto", set()),
        ("sft/fastchat_identity.jsonl.gz", "sft", set()),
        ("sft/gpteacher_codegen.jsonl.gz", "sft", set()),
        ("sft/zava_sft_test.jsonl.gz", "sft", {"alpaca", "prompt_completion"}),
        ("rft/clause_matching_validation.jsonl.gz", "rlvr", set()),
        ("rft/zava_rft_train.jsonl.gz", "rlvr", set()),
        ("rft/countdown_train_100.jsonl", "rlvr", set()),
    ],
)
def test_real_rows_go_through_every_pair_of_shapes(shared_data: Path, file: str, stage: str, never: set[str]) -> None:
    rows = list(itertools.islice(read_rows(str(shared_data / file)), 20))
    formats = FORMATS[stage].values()
    records = [next(format for format in formats if format.fits(row)).read(row, place) for row, place in rows]
    able = {name for name, shapes in SHAPES.items() if stage in shapes} - never
    assert round_trips(records, stage) == set(itertools.product(able, able))
