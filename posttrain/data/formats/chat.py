"""Conversations to imitate: messages, ShareGPT, prompt/completion, alpaca."""

from __future__ import annotations

from posttrain.data.formats.format import (
    Format,
    Row,
    answer_of,
    column,
    has,
    prompt_of,
    text,
    tools_of,
    with_system,
)
from posttrain.data.messages import parse_json_text, read_messages
from posttrain.data.records import Chat, Message
from posttrain.errors import UserError


def read_conversation(row: Row, place: str) -> Chat:
    """Chat messages under ``messages``, or ShareGPT turns under ``conversations``."""
    name = "messages" if has(row, "messages") else "conversations"
    messages = with_system(read_messages(column(row, place, name), place, name), row, place)
    return _chat(messages, row, place)


def read_prompt_completion(row: Row, place: str) -> Chat:
    """A prompt and its completion, each text or messages."""
    return _chat(prompt_of(row, place, "prompt") + answer_of(row, place, "completion"), row, place)


def read_alpaca(row: Row, place: str) -> Chat:
    """An instruction, an input it is about (or ''), and the output. The two are one user turn, after the history's."""
    instruction, output = text(row, place, "instruction"), text(row, place, "output", "response")
    about = text(row, place, "input", "context") if has(row, "input") or has(row, "context") else ""
    asked = "\n\n".join(part for part in (instruction, about) if part.strip())
    messages: list[Message] = [
        {"role": role, "content": said}
        for pair in [*_history(row, place), [asked, output]]
        for role, said in zip(("user", "assistant"), pair, strict=True)
    ]
    return _chat(with_system(messages, row, place), row, place)


def _history(row: Row, place: str) -> list[list[str]]:
    """The earlier questions with their answers that LLaMA-Factory's alpaca rows may have."""
    pairs = parse_json_text(row.get("history"), place, "history")
    if pairs is None or pairs == "":
        return []
    if not isinstance(pairs, list) or not all(
        isinstance(pair, list) and len(pair) == 2 and all(isinstance(said, str) for said in pair) for pair in pairs
    ):
        raise UserError("history must be a list of [question, answer]", where=place)
    return pairs


def _chat(messages: list[Message], row: Row, place: str) -> Chat:
    if not any(message["role"] == "assistant" for message in messages):
        raise UserError("no assistant turn to train on", where=place)
    for index, message in enumerate(messages):
        if message["role"] == "user" and not message["content"].strip():
            raise UserError(f"user turn {index + 1} is empty", where=place)
    return Chat(messages, tools_of(row, place), place)


FORMATS: dict[str, Format] = {
    "messages": Format("chat messages", "messages", lambda row: has(row, "messages"), read_conversation),
    "sharegpt": Format(
        "ShareGPT conversations", "conversations", lambda row: has(row, "conversations"), read_conversation
    ),
    "prompt_completion": Format(
        "prompt/completion",
        "prompt, completion",
        lambda row: has(row, "prompt", "completion"),
        read_prompt_completion,
    ),
    "alpaca": Format(
        "alpaca instructions",
        "instruction, output or response, and perhaps input, history",
        lambda row: has(row, "instruction") and (has(row, "output") or has(row, "response")),
        read_alpaca,
    ),
}
