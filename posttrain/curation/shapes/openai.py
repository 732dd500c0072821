"""OpenAI's rows: chat fine-tuning, preference, RFT, Evals. A call has an id, and its arguments are JSON text."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from posttrain.curation.shapes.shape import Shape, Unfit, fields_of, only, refuse_thinking, with_tools
from posttrain.data.records import Chat, Message, Preference, Problem


def openai_chat(chat: Chat) -> dict[str, Any]:
    """A row of supervised fine-tuning, which must end with the assistant."""
    refuse_thinking(chat)
    if chat.messages[-1]["role"] != "assistant":
        raise Unfit("a conversation that does not end with the assistant")
    return with_tools({"messages": _messages(chat.messages)}, chat)


def openai_preference(pair: Preference) -> dict[str, Any]:
    """A row of preference fine-tuning: one answer preferred to one other."""
    refuse_thinking(pair)
    chosen, rejected = only(pair.chosen, "an answer"), only(pair.rejected, "an answer")
    return {
        "input": with_tools({"messages": _messages(pair.prompt)}, pair),
        "preferred_output": _messages([chosen]),
        "non_preferred_output": _messages([rejected]),
    }


def openai_problem(problem: Problem) -> dict[str, Any]:
    """A row of reinforcement fine-tuning: messages, and beside them what the grader reads."""
    refuse_thinking(problem)
    return {"messages": _messages(problem.prompt), **fields_of(problem)}


def openai_item(problem: Problem) -> dict[str, Any]:
    """A row of Evals: the same inside ``item``."""
    return {"item": openai_problem(problem)}


def _messages(turns: list[Message]) -> list[Message]:
    return [_message(turn) for turn in turns]


def _message(turn: Message) -> Message:
    if not turn.get("tool_calls"):
        return turn
    calls = [
        call
        | {"function": call["function"] | {"arguments": json.dumps(call["function"]["arguments"], ensure_ascii=False)}}
        for call in turn["tool_calls"]
    ]
    said = {key: value for key, value in turn.items() if key != "content" or value}
    return said | {"tool_calls": calls}


def _chat_with_ids(chat: Chat) -> Chat:
    return replace(chat, messages=with_ids(chat.messages))


def _pair_with_ids(pair: Preference) -> Preference:
    end = len(pair.prompt)
    chosen, rejected = with_ids(pair.prompt + pair.chosen), with_ids(pair.prompt + pair.rejected)
    return replace(pair, prompt=chosen[:end], chosen=chosen[end:], rejected=rejected[end:])


def _problem_with_ids(problem: Problem) -> Problem:
    return replace(problem, prompt=with_ids(problem.prompt))


def with_ids(turns: list[Message]) -> list[Message]:
    """`turns` with an id for each tool call that has none, and on the results that answer them, in order.

    Raises Unfit for a result that answers no call before it.
    """
    read: list[Message] = []
    waiting: list[str] = []
    made = 0
    for turn in turns:
        if turn.get("tool_calls"):
            calls = []
            for call in turn["tool_calls"]:
                made += 1
                calls.append({"id": f"call_{made}"} | call)
            waiting += [call["id"] for call in calls]
            turn = turn | {"tool_calls": calls}
        elif turn["role"] == "tool":
            answered = turn.get("tool_call_id", waiting[0] if waiting else None)
            if answered not in waiting:
                raise Unfit("a tool result that answers no call")
            waiting.remove(answered)
            turn = turn | {"tool_call_id": answered}
        read.append(turn)
    return read


SHAPES = {
    "sft": Shape("messages", openai_chat, _chat_with_ids),
    "dpo": Shape("openai", openai_preference, _pair_with_ids),
    "rlvr": Shape("messages", openai_problem, _problem_with_ids),
}
EVALS = {"rlvr": Shape("item", openai_item, _problem_with_ids)}
