"""TRL's conversational rows. Tool schemas are JSON text, which TRL reads and Arrow leaves alone."""

from __future__ import annotations

import json
from typing import Any

from posttrain.curation.shapes.canonical import chat_row, feedback_row, preference_row
from posttrain.curation.shapes.shape import Shape, Unfit, fields_of, refuse_weights
from posttrain.data.records import Chat, Feedback, Preference, Problem


def trl_chat(chat: Chat) -> dict[str, Any]:
    """TRL's language modelling: ``messages``."""
    refuse_weights(chat)
    return _tools_as_text(chat_row(chat))


def trl_preference(pair: Preference) -> dict[str, Any]:
    """TRL's preference with an explicit prompt."""
    return _tools_as_text(preference_row(pair))


def trl_feedback(feedback: Feedback) -> dict[str, Any]:
    """TRL's unpaired preference."""
    return _tools_as_text(feedback_row(feedback))


def trl_problem(problem: Problem) -> dict[str, Any]:
    """TRL's prompt-only rows, whose other columns go to the reward functions."""
    return {"prompt": problem.prompt, **fields_of(problem)}


def prompt_completion(chat: Chat) -> dict[str, Any]:
    """``prompt`` and ``completion``, of which TRL trains the completion: the turns after the last question."""
    turns = chat.messages
    end = len(turns)
    while end and turns[end - 1]["role"] == "assistant":
        end -= 1
    prompt, completion = turns[:end], turns[end:]
    if not completion:
        raise Unfit("a conversation that does not end with the assistant")
    if not prompt:
        raise Unfit("a conversation that begins with the assistant")
    if any(turn["role"] == "assistant" and turn.get("weight", 1) for turn in prompt):
        raise Unfit("several answers to train: only the last would be")
    if any(turn.get("weight") == 0 for turn in completion):
        raise Unfit("a turn with weight 0, which would be trained")
    row = chat_row(chat) | {"prompt": prompt, "completion": completion}
    del row["messages"]
    return _tools_as_text(row)


def _tools_as_text(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"tools": json.dumps(row["tools"], ensure_ascii=False)} if "tools" in row else row


SHAPES = {
    "sft": Shape("messages", trl_chat),
    "dpo": Shape("prompt_chosen_rejected", trl_preference),
    "kto": Shape("prompt_completion_label", trl_feedback),
    "rlvr": Shape("prompt_answer", trl_problem),
}
PROMPT_COMPLETION = {"sft": Shape("prompt_completion", prompt_completion)}
