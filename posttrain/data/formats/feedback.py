"""Answers with a thumb: prompt/completion/label, and conversations with a label on their last turn."""

from __future__ import annotations

from typing import Any

from posttrain.data.formats.format import (
    Format,
    Row,
    answer_of,
    check_prompt,
    column,
    has,
    prompt_of,
    tools_of,
    with_system,
)
from posttrain.data.messages import read_messages
from posttrain.data.records import Feedback
from posttrain.errors import UserError, brief

UP = [
    "up",
    "thumbs_up",
    "thumb_up",
    "👍",
    "good",
    "like",
    "liked",
    "positive",
    "desirable",
    "true",
    "yes",
    "1",
    "+1",
]
DOWN = [
    "down",
    "thumbs_down",
    "thumb_down",
    "👎",
    "bad",
    "dislike",
    "disliked",
    "negative",
    "undesirable",
    "false",
    "no",
    "0",
    "-1",
]


def read_label(value: Any, place: str) -> bool:
    """Whether a thumb is up: true, 1 or a word for it; down: false, 0, -1 or a word. Else UserError."""
    if value is None or (isinstance(value, str) and not value.strip()):
        raise UserError("the label is missing", where=place, fix="Leave out rows that nobody judged.")
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float) and value in (1, 0, -1):
        return value == 1
    word = _word(value) if isinstance(value, str) else None
    if word in UP or word in DOWN:
        return word in UP
    raise UserError(
        f"the label {brief(value)} is neither up nor down",
        where=place,
        fix=f"Up: {', '.join(UP)}. Down: {', '.join(DOWN)}.",
    )


def read_prompt_completion_label(row: Row, place: str) -> Feedback:
    """A prompt and a completion, each text or messages, and a label."""
    prompt, completion = prompt_of(row, place, "prompt"), answer_of(row, place, "completion", "response")
    return Feedback(prompt, completion, read_label(row.get("label"), place), tools_of(row, place), place)


def read_conversation_label(row: Row, place: str) -> Feedback:
    """A conversation (chat messages or ShareGPT turns) whose last assistant turn has the label."""
    name = "messages" if has(row, "messages") else "conversations"
    messages = with_system(read_messages(column(row, place, name), place, name), row, place)
    if messages[-1]["role"] != "assistant":
        raise UserError(f"{name} must end with the assistant turn that was judged", where=place)
    prompt = check_prompt(messages[:-1], place)
    return Feedback(prompt, messages[-1:], read_label(row.get("label"), place), tools_of(row, place), place)


def _word(value: str) -> str:
    word = value.strip().casefold().replace(" ", "_").replace("-up", "_up").replace("-down", "_down")
    return "".join(sign for sign in word if sign not in "\ufe0f🏻🏼🏽🏾🏿")  # skin tones, emoji presentation


FORMATS: dict[str, Format] = {
    "prompt_completion_label": Format(
        "prompt/completion/label",
        "prompt, completion or response, label",
        lambda row: has(row, "prompt") and (has(row, "completion") or has(row, "response")),
        read_prompt_completion_label,
    ),
    "messages_label": Format(
        "messages/label", "messages, label", lambda row: has(row, "messages"), read_conversation_label
    ),
    "sharegpt_label": Format(
        "ShareGPT conversations with labels",
        "conversations, label",
        lambda row: has(row, "conversations"),
        read_conversation_label,
    ),
}
