"""posttrain's own rows: whatever a record says, said in chat messages."""

from __future__ import annotations

from typing import Any

from posttrain.curation.shapes.shape import Shape, fields_of, with_tools
from posttrain.data.records import Chat, Feedback, Preference, Problem


def chat_row(chat: Chat) -> dict[str, Any]:
    """``messages``, and ``tools``."""
    return with_tools({"messages": chat.messages}, chat)


def preference_row(pair: Preference) -> dict[str, Any]:
    """``prompt``, ``chosen``, ``rejected``, each messages, and ``tools``."""
    return with_tools({"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected}, pair)


def feedback_row(feedback: Feedback) -> dict[str, Any]:
    """``prompt``, ``completion``, ``label``, and ``tools``."""
    row = {"prompt": feedback.prompt, "completion": feedback.completion, "label": feedback.label}
    return with_tools(row, feedback)


def problem_row(problem: Problem) -> dict[str, Any]:
    """``messages``, and beside them every field that a grader may read."""
    return {"messages": problem.prompt, **fields_of(problem)}


SHAPES = {
    "sft": Shape("messages", chat_row),
    "dpo": Shape("prompt_chosen_rejected", preference_row),
    "kto": Shape("prompt_completion_label", feedback_row),
    "rlvr": Shape("messages", problem_row),
}
