"""alpaca rows: instruction, input, output; ``system`` and, as LLaMA-Factory has it, ``history`` of earlier turns."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from posttrain.curation.shapes.shape import Shape, Unfit, refuse_thinking, refuse_weights
from posttrain.data.records import Chat


def alpaca_chat(chat: Chat) -> dict[str, Any]:
    """A conversation of questions and answers in turn; the last pair is instruction and output."""
    refuse_weights(chat)
    refuse_thinking(chat)
    if chat.tools or any(turn["role"] == "tool" or turn.get("tool_calls") for turn in chat.messages):
        raise Unfit("tools")
    has_system = chat.messages[0]["role"] == "system"
    turns = chat.messages[has_system:]
    asked, answered = turns[::2], turns[1::2]
    if (
        len(asked) != len(answered)
        or any(turn["role"] != "user" for turn in asked)
        or any(turn["role"] != "assistant" for turn in answered)
    ):
        raise Unfit("turns other than a question and its answer, in turn")
    pairs = [[question["content"], answer["content"]] for question, answer in zip(asked, answered, strict=True)]
    row: dict[str, Any] = {"instruction": pairs[-1][0], "input": "", "output": pairs[-1][1]}
    if has_system:
        row["system"] = chat.messages[0]["content"]
    return row | {"history": pairs[:-1]} if len(pairs) > 1 else row


def _without_weight_1(chat: Chat) -> Chat:
    """Weight 1 goes without saying."""
    turns = [{key: value for key, value in turn.items() if (key, value) != ("weight", 1)} for turn in chat.messages]
    return replace(chat, messages=turns)


SHAPES = {"sft": Shape("alpaca", alpaca_chat, _without_weight_1)}
