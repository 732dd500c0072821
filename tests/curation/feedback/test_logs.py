"""What a log row says: each shape that logs come in, and the reasons why an answer cannot be used."""

from __future__ import annotations

import json
from typing import Any

import pytest

from posttrain.curation.feedback.logs import (
    FAILED,
    FRAGMENT,
    WHICH,
    Answer,
    rated_id,
    read_answers,
    read_rating,
)
from posttrain.curation.feedback.scores import Wanted
from posttrain.curation.feedback.turns import EMPTY_ANSWER, EMPTY_PROMPT, NOT_LAST, NOT_TEXT, ONLY_TOOLS
from posttrain.errors import UserError

ASKED = [{"role": "user", "content": "2 + 2?"}]
SAID = [{"role": "assistant", "content": "4"}]
REQUEST = [{"role": "system", "content": "Be brief."}, *ASKED]


def answers(row: dict[str, Any], **wanted: Any) -> list[Answer]:
    return list(read_answers(row, Wanted(**wanted), set(), "log.jsonl:1"))


def only(row: dict[str, Any], **wanted: Any) -> Answer:
    (answer,) = answers(row, **wanted)
    return answer


def values(answer: Answer) -> list[Any]:
    return [given.value for given in answer.verdicts]


def completion(**more: Any) -> dict[str, Any]:
    """A chat completion, as OpenAI's API returns it."""
    message = {"role": "assistant", "content": "4", "refusal": None}
    choices = [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}]
    return {"id": "chatcmpl-1", "object": "chat.completion", "created": 1767225600, "choices": choices, **more}


OPENAI = [
    completion(messages=REQUEST, rating="thumbs_up", user="ann"),
    completion(input=REQUEST, metadata={"feedback": "thumbs_up", "user_id": "ann"}),
    {"request": {"model": "m", "messages": REQUEST, "user": "ann"}, "response": completion(), "rating": "thumbs_up"},
    {"request": {"body": {"messages": REQUEST}}, "response": {"status_code": 200, "body": completion()}}
    | {"user_id": "ann", "feedback": {"rating": "thumbs_up", "comment": "right"}},
    {"id": "chatcmpl-1", "input": {"messages": REQUEST}, "output": completion(), "user": "ann", "thumb": "thumbs_up"},
    {"id": "chatcmpl-1", "input": REQUEST, "output": SAID, "metadata": {"rating": "thumbs_up", "user": "ann"}},
    {"id": "chatcmpl-1", "input": REQUEST, "output": SAID[0], "userId": "ann", "User Feedback": "thumbs_up"},
]


@pytest.mark.parametrize("row", OPENAI)
def test_a_chat_completion_is_found_beside_its_request(row: dict[str, Any]) -> None:
    answer = only(row)
    assert (answer.prompt, [turn["content"] for turn in answer.completion]) == (REQUEST, ["4"])
    assert (values(answer), answer.user, answer.why) == (["thumbs_up"], "ann", None)
    assert "chatcmpl-1" in answer.ids


TRACE = {"id": "t1", "timestamp": "2026-01-01T00:00:00.000Z", "userId": "ann", "sessionId": "s1", "input": "2 + 2?"}
SCORE = {"id": "x", "traceId": "t1", "name": "user-feedback", "value": 1, "dataType": "BOOLEAN", "source": "API"}
LANGFUSE = [
    TRACE | {"output": "4", "scores": [SCORE]},
    TRACE | {"output": "4", "scores": json.dumps([SCORE])},
    TRACE | {"output": "4", "user-feedback": [1]},
    TRACE | {"output": "4", "user-feedback": "[1]", "tags": "[]"},
    TRACE | {"output": json.dumps(SAID[0]), "input": json.dumps(ASKED), "scores": {"user-feedback": [1]}},
    {"trace": TRACE | {"output": "4"}, "observations": [{"id": "o1", "input": "x"}], "scores": [SCORE]},
    {"id": "o1", "trace_id": "t1", "type": "GENERATION", "user_id": "ann", "session_id": "s1", "level": "DEFAULT"}
    | {"start_time": "2026-01-01 00:00:00.000000", "input": json.dumps({"messages": ASKED}), "output": "4"}
    | {"scores": [SCORE]},
]


@pytest.mark.parametrize("row", LANGFUSE)
def test_a_trace_or_an_observation_of_langfuse_is_read(row: dict[str, Any]) -> None:
    answer = only(row)
    assert (answer.prompt, answer.completion, values(answer)) == (ASKED, SAID, [1])
    assert (answer.user, answer.conversation, answer.why) == ("ann", "s1", None)
    assert answer.time is not None


def test_a_score_of_an_observation_belongs_to_it_alone() -> None:
    observations = [{"id": "o1", "traceId": "t1", "parentObservationId": "o0", "input": "3 + 3?", "output": "6"}]
    scores = [{**SCORE, "observationId": "o1", "value": 0}]
    trace, part = answers({**TRACE, "output": "4", "observations": observations, "scores": scores})
    assert (values(trace), values(part)) == ([], [0])
    assert (part.prompt[0]["content"], part.user, part.ids) == ("3 + 3?", "ann", ["o1"])


def test_scores_of_a_model_or_of_another_name_are_no_thumbs() -> None:
    scores = [{**SCORE, "source": "EVAL"}, {**SCORE, "name": "toxicity", "value": 0.1}]
    wanted = Wanted()
    (answer,) = read_answers({**TRACE, "output": "4", "scores": scores}, wanted, set(), "")
    assert answer.verdicts == []
    assert wanted.unused == {"user-feedback": 1, "toxicity": 1}
    assert values(only({**TRACE, "output": "4", "scores": scores}, score="toxicity")) == [0.1]
    assert values(only({**TRACE, "output": "4", "toxicity": [0.1]}, score="toxicity")) == [0.1]


HUMAN = {"lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", "HumanMessage"]}
RUN = {"id": "r1", "run_type": "chain", "session_id": "the project", "start_time": "2026-01-01T00:00:00", "error": None}
RUN |= {"extra": {"metadata": {"user_id": "ann", "thread_id": "s1"}}}
STATS = {"feedback_stats": {"user_score": {"n": 1, "avg": 1.0, "values": {}}, "correctness": {"n": 1, "avg": 0.0}}}
LANGSMITH = [
    {"inputs": {"question": "2 + 2?"}, "outputs": {"answer": "4"}},
    {"inputs": {"messages": ASKED}, "outputs": {"choices": [{"message": SAID[0]}]}},
    {"inputs": {"messages": [[{**HUMAN, "kwargs": {"content": "2 + 2?"}}]]}}
    | {"outputs": {"generations": [[{"text": "4", "message": {"lc": 1, "kwargs": {"type": "ai", "content": "4"}}}]]}},
    {
        "inputs": {"input": [{"type": "human", "content": "2 + 2?"}]},
        "outputs": {"output": {"type": "ai", "content": "4"}},
    },
    {"inputs": {"messages": ASKED}, "outputs": {"messages": [*ASKED, *SAID]}},
    {"inputs": json.dumps({"messages": ASKED}), "outputs": json.dumps({"messages": [*ASKED, *SAID]})},
]


@pytest.mark.parametrize("parts", LANGSMITH)
def test_a_run_of_langsmith_is_read(parts: dict[str, Any]) -> None:
    answer = only({**RUN, **parts, **STATS})
    assert (answer.prompt, answer.completion, values(answer)) == (ASKED, SAID, [1.0])
    assert (answer.user, answer.conversation, answer.ids) == ("ann", "s1", ["r1"])


def test_statistics_of_several_thumbs_are_no_verdict_unless_they_agree() -> None:
    def given(stats: dict[str, Any]) -> list[Any]:
        return values(only({**RUN, **LANGSMITH[0], "feedback_stats": {"thumbs": stats}}))

    assert given({"n": 3, "avg": 1.0}) == [1.0]
    assert given({"n": 3, "avg": 0.67}) == ["an average"]
    assert given({"n": 2, "avg": None, "values": {"up": 1, "down": 1}}) == ["up", "down"]


TABLES = [
    {"prompt": "2 + 2?", "response": "4", "thumb": "up", "user": "ann", "time": "2026-01-01"},
    {"Question": "2 + 2?", "Answer": "4", "Thumbs Up": "up", "User ID": "ann", "Created At": "2026-01-01"},
    {"query": "2 + 2?", "reply": "4", "vote": "up", "userId": "ann", "timestamp": 1767225600000},
    {"prompt": json.dumps(ASKED), "completion": json.dumps(SAID), "liked": "up", "uid": "ann", "date": "2026-01-01"},
    {"messages": [*ASKED, *SAID], "label": "up", "user": "ann", "time": "2026-01-01"},
    {"messages": [*ASKED, {**SAID[0], "feedback": "up"}], "user": "ann", "time": "2026-01-01"},
    {"conversations": [{"from": "human", "value": "2 + 2?"}, {"from": "gpt", "value": "4"}], "rating": "up"}
    | {"user": "ann", "time": "2026-01-01"},
]


@pytest.mark.parametrize("row", TABLES)
def test_a_table_is_read_under_many_spellings(row: dict[str, Any]) -> None:
    answer = only(row)
    assert (answer.prompt, answer.completion, values(answer)) == (ASKED, SAID, ["up"])
    assert (answer.user, answer.why) == ("ann", None)
    assert answer.time is not None


def test_columns_are_mapped_also_into_objects() -> None:
    row = {"q": "2 + 2?", "a": "4", "meta": {"ok": True}, "who": 17, "response": "not this", "rating": "nor this"}
    columns = {"prompt": "q", "response": "a", "label": "meta.ok", "user": "who"}
    answer = only(row, columns=columns)
    assert (answer.prompt, answer.completion, values(answer), answer.user) == (ASKED, SAID, [True], "17")


def test_each_judged_turn_is_an_answer_of_its_own() -> None:
    turns = [
        *ASKED,
        {"role": "assistant", "content": "5", "thumb": "down", "id": "m1"},
        {"role": "user", "content": "Sure?"},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": "No!"},
        {"role": "assistant", "content": "4", "thumb": "up"},
    ]
    first, second = answers({"messages": turns, "conversation_id": "c1"})
    assert (first.prompt, first.completion[0]["content"], values(first)) == (ASKED, "5", ["down"])
    assert [turn["content"] for turn in second.prompt] == ["2 + 2?", "5", "Sure?", "Yes.", "No!"]
    assert (second.completion[0]["content"], values(second), second.conversation) == ("4", ["up"], "c1")
    assert first.ids == ["m1"]


def test_a_history_comes_before_the_prompt() -> None:
    history = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]
    answer = only({"history": history, "prompt": "2 + 2?", "response": "4", "thumb": "up"})
    assert answer.prompt == [*history, *ASKED]


CALL = {"id": "c", "type": "function", "function": {"name": "add", "arguments": "{}"}}
UNUSABLE = [
    ({"prompt": "", "response": "4"}, EMPTY_PROMPT),
    ({"response": "4"}, EMPTY_PROMPT),
    ({"messages": REQUEST[:1], "response": "4"}, EMPTY_PROMPT),
    ({"prompt": "2 + 2?", "response": " "}, EMPTY_ANSWER),
    ({"messages": ASKED}, EMPTY_PROMPT),
    ({"messages": [*ASKED, *SAID], "response": "5"}, NOT_LAST),
    ({"messages": ASKED, "response": {"role": "assistant", "content": None, "tool_calls": [CALL]}}, ONLY_TOOLS),
    ({"messages": ASKED, "response": "", "error": "timeout"}, FAILED),
    ({"messages": ASKED, "response": {"status_code": 429, "body": {"error": {"code": "rate"}}}}, FAILED),
    ({"input": "2 + 2?", "output": "", "level": "ERROR"}, FAILED),
    ({"object": "chat.completion.chunk", "messages": ASKED, "choices": [{"delta": {"content": "4"}}]}, FRAGMENT),
    ({"messages": ASKED, "choices": [{"message": SAID[0]}, {"message": SAID[0]}]}, WHICH),
    ({"inputs": {"a": {"b": 1}, "c": 2}, "outputs": {"answer": "4"}}, NOT_TEXT),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}], "response": "4"}, NOT_TEXT),
]


@pytest.mark.parametrize(("row", "why"), UNUSABLE)
def test_what_cannot_be_used_says_why(row: dict[str, Any], why: str) -> None:
    answer = only({**row, "thumb": "up"})
    assert (answer.why, values(answer)) == (why, ["up"])


def test_an_answer_in_json_stays_as_it_is() -> None:
    text = '{"answer": 4, "unit": ["none"]}'
    assert only({"prompt": "2 + 2?", "response": text, "thumb": "up"}).completion[0]["content"] == text


RATINGS = [
    ({"completion_id": "chatcmpl-1", "rating": "up", "user": "ann"}, "chatcmpl-1", "up", "ann"),
    ({**SCORE, "observationId": None}, "t1", 1, None),
    (
        {"id": "x", "trace_id": "t1", "observation_id": "o1", "name": "thumbs", "string_value": "up", "value": 1}
        | {"data_type": "CATEGORICAL"},
        "o1",
        "up",
        None,
    ),
    (
        {"id": "x", "run_id": "r1", "trace_id": "t1", "key": "user_score", "score": 0, "value": None}
        | {"feedback_source": {"type": "api", "user_id": "ann"}},
        "r1",
        0,
        "ann",
    ),
]


@pytest.mark.parametrize(("row", "id", "value", "user"), RATINGS)
def test_a_rating_names_its_answer(row: dict[str, Any], id: str, value: Any, user: str | None) -> None:
    assert rated_id(row, Wanted(), set(), "", sure=False) == id
    (given,) = read_rating(row, Wanted(), "")
    assert (given.value, given.user) == (value, user)


def test_a_row_with_an_answer_is_no_rating_and_a_rating_without_an_answer_an_error() -> None:
    assert all(rated_id(row, Wanted(), set(), "", sure=False) is None for row in [*OPENAI, *LANGFUSE, *TABLES])
    with pytest.raises(UserError, match="does not say of which answer"):
        rated_id({"rating": "up"}, Wanted(), set(), "ratings.csv:2", sure=True)


def test_two_columns_that_could_be_the_verdict_are_an_error() -> None:
    row = {"prompt": "2 + 2?", "response": "4", "thumb": "up", "rating": 2}
    with pytest.raises(UserError, match="several columns could be the verdict: thumb, rating"):
        answers(row)
    assert values(only(row, columns={"label": "rating"})) == [2]
    assert values(only({**row, "rating": None, "feedback": "Nice, but long."})) == ["up"]
