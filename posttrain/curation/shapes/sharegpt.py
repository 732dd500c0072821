"""ShareGPT conversations, as LLaMA-Factory reads them: from and value, ``system`` and ``tools`` beside them.

The ids of tool calls have no place there; they are kept as further keys, which readers pass over.
"""

from __future__ import annotations

import json
from typing import Any

from posttrain.curation.shapes.shape import Shape, Unfit, only, refuse_thinking, refuse_weights
from posttrain.data.records import Chat, Feedback, Message, Preference, Record

_FROM = {"system": "system", "user": "human", "assistant": "gpt", "tool": "observation"}


def sharegpt_chat(chat: Chat) -> dict[str, Any]:
    """``conversations``, and where there are any ``system`` and ``tools``."""
    refuse_weights(chat)
    return _row(chat.messages, chat)


def sharegpt_preference(pair: Preference) -> dict[str, Any]:
    """The prompt as ``conversations``; ``chosen`` and ``rejected`` are one turn each."""
    chosen, rejected = only(pair.chosen, "an answer"), only(pair.rejected, "an answer")
    return _row(pair.prompt, pair) | {"chosen": _turn(chosen), "rejected": _turn(rejected)}


def sharegpt_feedback(feedback: Feedback) -> dict[str, Any]:
    """``conversations`` that end with the judged turn, and its ``label``."""
    judged = only(feedback.completion, "an answer")
    return _row([*feedback.prompt, judged], feedback) | {"label": feedback.label}


def _row(turns: list[Message], record: Record) -> dict[str, Any]:
    refuse_thinking(record)
    row: dict[str, Any] = {}
    if turns[0]["role"] == "system" and turns[0].keys() == {"role", "content"} and turns[0]["content"].strip():
        row, turns = {"system": turns[0]["content"]}, turns[1:]
    if record.tools:
        row["tools"] = json.dumps(record.tools, ensure_ascii=False)
    return {"conversations": [_turn(turn) for turn in turns]} | row


def _turn(turn: Message) -> dict[str, Any]:
    more = {key: value for key, value in turn.items() if key not in ("role", "content", "tool_calls")}
    if not turn.get("tool_calls"):
        return {"from": _FROM[turn["role"]], "value": turn["content"]} | more
    if turn["content"] or more:
        raise Unfit("text beside a tool call")
    calls = [call["function"] | ({"id": call["id"]} if "id" in call else {}) for call in turn["tool_calls"]]
    said = json.dumps(calls[0] if len(calls) == 1 else calls, ensure_ascii=False)
    return {"from": "function_call", "value": said}


SHAPES = {
    "sft": Shape("sharegpt", sharegpt_chat),
    "dpo": Shape("prompt_chosen_rejected", sharegpt_preference),
    "kto": Shape("sharegpt_label", sharegpt_feedback),
}
