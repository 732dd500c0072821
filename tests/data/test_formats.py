"""Every row format: a hand-written row each, real files, and rows that must not be guessed at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from posttrain.data.formats import FORMATS, check_columns, choose_format, refuse_other_format, rename_columns
from posttrain.data.formats.feedback import DOWN, UP
from posttrain.data.read import read_rows
from posttrain.data.records import Chat, Feedback, Preference, Problem, Record
from posttrain.errors import UserError


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **more}


def system(text: str) -> dict[str, Any]:
    return {"role": "system", "content": text}


def read(stage: str, row: dict[str, Any], format: str = "auto") -> Record:
    return choose_format(row, stage, format, "rows.jsonl:3").read(row, "rows.jsonl:3")


def error_of(stage: str, row: dict[str, Any], format: str = "auto") -> str:
    with pytest.raises(UserError) as caught:
        read(stage, row, format)
    assert caught.value.where == "rows.jsonl:3"
    return str(caught.value)


CALL = {"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}

CHATS: list[tuple[dict[str, Any], list[dict[str, Any]]]] = [
    ({"messages": [user("q"), assistant("a")]}, [user("q"), assistant("a")]),
    ({"messages": '[{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]'},
     [user("q"), assistant("a")]),
    ({"messages": [{"role": "developer", "content": "s"}, user("q"), assistant("a")]},
     [system("s"), user("q"), assistant("a")]),
    ({"messages": [user("q"), assistant("a", weight=0), user("r"), assistant("b", weight=None)]},
     [user("q"), assistant("a", weight=0), user("r"), assistant("b")]),
    ({"messages": [user([{"type": "text", "text": "q"}, {"type": "text", "text": "r"}]), assistant("a")]},
     [user("qr"), assistant("a")]),
    ({"messages": [user("q"), {"role": "assistant", "content": None, "tool_calls":
                               [{"id": "1", "function": {"name": "f", "arguments": '{"x": 1}'}}]},
                   {"role": "tool", "tool_call_id": "1", "content": "2"}, assistant("a")]},
     [user("q"), assistant("", tool_calls=[{"id": "1", **CALL}]),
      {"role": "tool", "tool_call_id": "1", "content": "2"}, assistant("a")]),
    ({"conversations": [{"from": "system", "value": "s"}, {"from": "human", "value": "q"},
                        {"from": "gpt", "value": "a"}]}, [system("s"), user("q"), assistant("a")]),
    ({"conversations": [{"from": "human", "value": "q"},
                        {"from": "function_call", "value": '{"name": "f", "arguments": {"x": 1}}'},
                        {"from": "observation", "value": "2"}, {"from": "gpt", "value": "a"}]},
     [user("q"), assistant("", tool_calls=[CALL]), {"role": "tool", "content": "2"}, assistant("a")]),
    ({"prompt": "q", "completion": "a"}, [user("q"), assistant("a")]),
    ({"prompt": "q", "completion": 4}, [user("q"), assistant("4")]),
    ({"prompt": "q", "completion": '{"x": 1}'}, [user("q"), assistant('{"x": 1}')]),
    ({"prompt": "q", "completion": '[{"x": 1}]'}, [user("q"), assistant('[{"x": 1}]')]),
    ({"prompt": [system("s"), user("q")], "completion": [assistant("a")]},
     [system("s"), user("q"), assistant("a")]),
    ({"system": "s", "prompt": "q", "completion": "a"}, [system("s"), user("q"), assistant("a")]),
    ({"instruction": "i", "input": "", "output": "a"}, [user("i"), assistant("a")]),
    ({"instruction": "i", "input": "x", "response": "a"}, [user("i\n\nx"), assistant("a")]),
]  # fmt: skip


@pytest.mark.parametrize(("row", "messages"), CHATS)
def test_chats(row: dict[str, Any], messages: list[dict[str, Any]]) -> None:
    assert read("sft", row) == Chat(messages, None, "rows.jsonl:3")


@pytest.mark.parametrize("tools", [[TOOL], [TOOL["function"]], '[{"name": "f", "parameters": {}}]'])
def test_tool_schemas(tools: Any) -> None:
    chat = read("sft", {"messages": [user("q"), assistant("a")], "tools": tools})
    assert isinstance(chat, Chat) and chat.tools == [TOOL]
    none = read("sft", {"messages": [user("q"), assistant("a")], "tools": []})
    assert isinstance(none, Chat) and none.tools is None


PAIRS: list[dict[str, Any]] = [
    {"prompt": "q", "chosen": "a", "rejected": "b"},
    {"prompt": [user("q")], "chosen": [assistant("a")], "rejected": [assistant("b")]},
    {"prompt": "q", "chosen": [user("q"), assistant("a")], "rejected": [user("q"), assistant("b")]},
    {"chosen": [user("q"), assistant("a")], "rejected": [user("q"), assistant("b")]},
    {
        "conversations": [{"from": "human", "value": "q"}],
        "chosen": {"from": "gpt", "value": "a"},
        "rejected": {"from": "gpt", "value": "b"},
    },
    {"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "\n\nHuman: q\n\nAssistant: b"},
    {
        "input": {"messages": [user("q")]},
        "preferred_output": [assistant("a")],
        "non_preferred_output": [assistant("b")],
    },
]


@pytest.mark.parametrize("row", PAIRS)
def test_pairs(row: dict[str, Any]) -> None:
    expected = Preference([user("q")], [assistant("a")], [assistant("b")], None, "rows.jsonl:3")
    assert read("dpo", row) == expected


def test_an_implicit_prompt_keeps_the_turns_in_common() -> None:
    before = [system("s"), user("q"), assistant("same"), user("r")]
    pair = read("dpo", {"chosen": [*before, assistant("a")], "rejected": [*before, assistant("b")]})
    assert pair == Preference(before, [assistant("a")], [assistant("b")], None, "rows.jsonl:3")
    same = read("dpo", {"chosen": [user("q"), assistant("a")], "rejected": [user("q"), assistant("a")]})
    assert same == Preference([user("q")], [assistant("a")], [assistant("a")], None, "rows.jsonl:3")


def test_a_transcript_with_two_turns_and_a_speaker_twice() -> None:
    start = "\n\nHuman: q\n\nAssistant: a\n\nAssistant: more\n\nHuman: r\n\n"
    pair = read("dpo", {"chosen": f"{start}Assistant: x: y", "rejected": f"{start}Assistant: z"})
    assert isinstance(pair, Preference)
    assert pair.prompt == [user("q"), assistant("a\n\nmore"), user("r")]
    assert (pair.chosen, pair.rejected) == ([assistant("x: y")], [assistant("z")])


FEEDBACK: list[dict[str, Any]] = [
    {"prompt": "q", "completion": "a"},
    {"prompt": "q", "response": "a"},
    {"prompt": [user("q")], "completion": [assistant("a")]},
    {"messages": [user("q"), assistant("a")]},
    {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
]


@pytest.mark.parametrize("row", FEEDBACK)
def test_feedback(row: dict[str, Any]) -> None:
    expected = Feedback([user("q")], [assistant("a")], False, None, "rows.jsonl:3")
    assert read("kto", row | {"label": False}) == expected


@pytest.mark.parametrize(
    ("labels", "up"),
    [
        (
            [True, 1, 1.0, "1", "True", " UP ", "Thumbs up", "thumbs-up", "👍", "👍🏽", "good", "yes", *UP],
            True,
        ),
        ([False, 0, 0.0, -1, "-1", "false", "Down", "thumbs_down", "👎", "bad", "no", *DOWN], False),
    ],
)
def test_label_spellings(labels: list[Any], up: bool) -> None:
    for label in labels:
        record = read("kto", {"prompt": "q", "completion": "a", "label": label})
        assert isinstance(record, Feedback) and record.label is up, label


@pytest.mark.parametrize("label", [2, 0.5, "maybe", "10", [], {}, float("nan")])
def test_a_label_that_is_no_thumb(label: Any) -> None:
    assert "neither up nor down" in error_of("kto", {"prompt": "q", "completion": "a", "label": label})


@pytest.mark.parametrize("row", [{}, {"label": None}, {"label": " "}])
def test_a_missing_label(row: dict[str, Any]) -> None:
    assert "the label is missing" in error_of("kto", {"prompt": "q", "completion": "a"} | row)


PROBLEMS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"prompt": "q", "answer": "4", "level": 1}, {"answer": "4", "level": 1}),
    ({"question": "q", "answer": "4"}, {"answer": "4"}),
    ({"input": "q", "target": "4"}, {"target": "4", "answer": "4"}),
    ({"messages": [user("q")], "ground_truth": "4", "dataset": "gsm8k"},
     {"ground_truth": "4", "dataset": "gsm8k", "answer": "4"}),
    ({"messages": [user("q"), assistant("5")], "ground_truth": ["4"], "dataset": ["gsm8k"]},
     {"ground_truth": ["4"], "dataset": ["gsm8k"], "answer": ["4"]}),
    ({"messages": [user("q")], "nums": [1, 2]}, {"nums": [1, 2]}),
    ({"item": {"question": "q", "answer": 4}}, {"answer": 4}),
]  # fmt: skip


@pytest.mark.parametrize(("row", "fields"), PROBLEMS)
def test_problems(row: dict[str, Any], fields: dict[str, Any]) -> None:
    assert read("rlvr", row) == Problem([user("q")], fields | {"prompt": "q"}, None, "rows.jsonl:3")


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("sft", {"text": "x"}, "fits no sft format (columns: text)"),
    ("sft", {"messages": [user("q")], "prompt": "q", "completion": "a"}, "messages, prompt_completion"),
    ("sft", {"messages": [user("q")]}, "no assistant turn to train on"),
    ("sft", {"messages": []}, "messages must be a list of messages"),
    ("sft", {"messages": "[{"}, "text but not valid JSON"),
    ("sft", {"messages": [{"role": "asistant", "content": "a"}]}, "Did you mean 'assistant'?"),
    ("sft", {"messages": [user("q"), assistant("a", weight=0.5)]}, "weight 0.5"),
    ("sft", {"messages": [{"role": "user", "content": None}, assistant("a")]}, "messages[0].content must be"),
    ("sft", {"messages": [user([{"type": "image_url"}]), assistant("a")]}, "parts other than text"),
    ("sft", {"messages": [user(" "), assistant("a")]}, "user turn 1 is empty"),
    ("sft", {"messages": [user("q"), assistant("", tool_calls=[{"function": {}}])]}, "needs function.name"),
    ("sft", {"messages": [user("q"), {"role": "assistant", "function_call": {"name": "f"}}]}, "older"),
    ("sft", {"messages": [user("q"), assistant("a")], "tools": [{"type": "function"}]}, "needs a name"),
    ("sft", {"messages": [user("q"), {"role": "tool", "content": "3"}, assistant("a")]}, "without a call before it"),
    ("sft", {"messages": [user("q"), assistant("", tool_calls=[{"id": "1", **CALL}]),
                          {"role": "tool", "tool_call_id": "2", "content": "3"}]}, "'2' is none of the calls"),
    ("sft", {"messages": [user("q"), assistant("a", tool_cals=[CALL])]}, "'tool_cals'. Did you mean 'tool_calls'?"),
    ("sft", {"messages": [user("q"), assistant("a", name=3)]}, "messages[1].name must be text, not 3"),
    ("sft", {"messages": [user("q"), assistant("a")], "system": 3}, "the column system must be text, not 3"),
    ("sft", {"messages": [user("q"), assistant("a")], "tools": False}, "tools must be a list"),
    ("sft", {"prompt": "[{'role': 'user', 'content': 'q'}]", "completion": "a"}, "It looks like Python's str()"),
    ("sft", {"prompt": '[{"role": "user", "content": "q"', "completion": "a"}, "looks like messages but is not valid"),
    ("sft", {"prompt": float("nan"), "completion": "a"}, "prompt must be text or messages, not nan"),
    ("dpo", {"prompt": "q", "chosen": "Human: q\n\nAssistant: a", "rejected": "Human: q\n\nAssistant: b"},
     "`format: hh`"),
    ("sft", {"prompt": "", "completion": "a"}, "the prompt is empty"),
    ("sft", {"prompt": [user("q"), assistant("a")], "completion": "b"}, "it ends with assistant"),
    ("dpo", {"chosen": "a", "rejected": "b"}, "chosen must be a list of messages"),
    ("dpo", {"chosen": [assistant("a")], "rejected": [assistant("b")]}, "it ends with nothing"),
    ("dpo", {"chosen": [user("q"), assistant("a")], "rejected": [user("r"), assistant("b")]},
     "share no prompt"),
    ("dpo", {"prompt": "p", "chosen": [user("q"), assistant("a")], "rejected": [user("q"), assistant("b")]},
     "not the prompt column's"),
    ("dpo", {"input": "q", "preferred_output": [], "non_preferred_output": []}, "input must be an object"),
    ("kto", {"messages": [user("q"), assistant("a"), user("r")], "label": True},
     "must end with the assistant"),
    ("rlvr", {"messages": [user("q"), assistant("a")], "answer": "4"}, "it ends with assistant"),
    ("rlvr", {"question": "q", "input": "r", "answer": "4"}, "several columns could be the prompt"),
    ("rlvr", {"text": "q", "answer": "4"}, "fits no rlvr format"),
    ("rlvr", {"item": {"target": "89", "nums": "[1]"}}, "the column prompt is missing"),
]  # fmt: skip


@pytest.mark.parametrize(("stage", "row", "said"), REFUSED)
def test_rows_that_are_not_guessed_at(stage: str, row: dict[str, Any], said: str) -> None:
    assert said in error_of(stage, row)


def test_an_unknown_format_is_said_at_the_recipe() -> None:
    with pytest.raises(UserError, match="Did you mean 'alpaca'") as caught:
        choose_format({}, "sft", "alpacca", "rows.jsonl:1", "sft.yaml:8 data.train[0].format")
    assert caught.value.where == "sft.yaml:8 data.train[0].format"


def test_a_name_of_ours_that_nothing_reads() -> None:
    with pytest.raises(UserError, match=r"sft reads no column 'promt'\. Did you mean") as caught:
        check_columns({"promt": "question"}, "sft", "sft.yaml:7")
    assert caught.value.where == "sft.yaml:7"
    check_columns({"promt": "question"}, "rlvr", "rlvr.yaml:7")  # a grader may read it
    check_columns({"prompt": "question", "user": "id"}, "sft", "sft.yaml:7", "user")


def test_a_row_of_another_format() -> None:
    row = {"prompt": "q", "completion": "a"}
    refuse_other_format(row, "sft", "prompt_completion", "f:2")
    for other, said in ((row, "fits prompt_completion, and the first row messages"),
                        (row | {"messages": []}, "fits prompt_completion too")):  # fmt: skip
        with pytest.raises(UserError, match=said):
            refuse_other_format(other, "sft", "messages", "f:2")


def test_columns_are_renamed_first() -> None:
    row = rename_columns({"q": 1, "a": 2, "x": 3}, {"prompt": "q", "completion": "a"}, "f:1")
    assert row == {"x": 3, "prompt": 1, "completion": 2}
    assert rename_columns({"a": 1, "b": 2}, {"a": "b", "b": "a"}, "f:1") == {"a": 2, "b": 1}
    assert rename_columns({"item": {"q": 1}}, {"prompt": "q"}, "f:1") == {"item": {"prompt": 1}}
    with pytest.raises(UserError, match=r"no column 'questoin'\. Did you mean 'question'"):
        rename_columns({"question": 1, "answer": 2}, {"prompt": "questoin"}, "f:1")


REAL: list[tuple[str, str, dict[str, str], str, int]] = [
    ("sft", "math/gsm8k_train.jsonl.gz", {"prompt": "question", "completion": "answer"},
     "prompt_completion", 7473),
    ("sft", "sft/zava_sft_test.jsonl.gz", {}, "messages", 103),
    ("sft", "sft/stock_toolcall_validation.jsonl", {}, "messages", 10),
    ("sft", "sft/gpteacher_codegen.jsonl.gz", {}, "alpaca", 4535),
    ("sft", "sft/dolly_sample.jsonl", {"completion": "answer"}, "prompt_completion", 151),
    ("sft", "sft/fastchat_identity.jsonl.gz", {}, "sharegpt", 500),
    ("sft", "sft/banking77_train.csv.gz", {"prompt": "text", "completion": "category"},
     "prompt_completion", 10003),
    ("dpo", "dpo/orca_dpo_openai_format.jsonl.gz", {}, "openai", 284),
    ("dpo", "dpo/hh_harmless_base_test.jsonl.gz", {}, "hh", 2312),
    ("dpo", "dpo/llamafactory_dpo_en_demo.jsonl.gz", {}, "prompt_chosen_rejected", 300),
    ("kto", "kto/llamafactory_kto_en_demo.jsonl.gz", {}, "messages_label", 300),
    ("rlvr", "math/gsm8k_train.jsonl.gz", {}, "prompt_answer", 7473),
    ("rlvr", "math/math500.jsonl.gz", {}, "prompt_answer", 500),
    ("rlvr", "math/gsm_hard.jsonl.gz", {}, "prompt_answer", 1319),
    ("rlvr", "mc/bbh.jsonl.gz", {}, "prompt_answer", 6511),
    ("rlvr", "code/humaneval.jsonl.gz", {}, "prompt_answer", 164),
    ("rlvr", "code/mbpp.jsonl.gz", {"prompt": "text"}, "prompt_answer", 974),
    ("rlvr", "ifeval/ifeval_input.jsonl.gz", {}, "prompt_answer", 541),
    ("rlvr", "rlvr/tulu_rlvr_test_rows.jsonl", {}, "messages", 100),
    ("rlvr", "rft/clause_matching_validation.jsonl.gz", {}, "messages", 40),
    ("rlvr", "rft/countdown_train_100.jsonl", {}, "messages", 100),
    ("rlvr", "rft/zava_rft_train.jsonl.gz", {}, "messages", 10),
    ("rlvr", "rft/countdown_eval_100.jsonl", {"prompt": "nums"}, "item", 100),
]  # fmt: skip


@pytest.mark.parametrize(("stage", "file", "columns", "name", "count"), REAL)
def test_real_files(shared_data: Path, stage: str, file: str, columns: dict[str, str], name: str, count: int) -> None:
    rows = [(rename_columns(row, columns, at), at) for row, at in read_rows(str(shared_data / file))]
    format = choose_format(rows[0][0], stage, "auto", rows[0][1])
    assert format is FORMATS[stage][name]
    records = [format.read(row, at) for row, at in rows]
    assert len(records) == count
    assert all(record.place for record in records)
