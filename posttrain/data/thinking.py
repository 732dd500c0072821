"""Thoughts in a conversation: where they stand, and what a recipe makes of them (``data.thinking``)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from posttrain.data.records import Chat, Message

if TYPE_CHECKING:
    from posttrain.recipe.schema import Data

Thinking = Literal["as_template", "strip", "keep"]
TrainedTurns = Literal["all", "last"]

DEFAULT: Thinking = "as_template"
REASONING = ("reasoning_content", "reasoning", "thinking")

# What the choice sets in the template: Qwen3, SmolLM3 and others read `enable_thinking`.
VARIABLES: dict[Thinking, dict[str, bool]] = {
    "as_template": {},
    "strip": {"enable_thinking": False},
    "keep": {"enable_thinking": True},
}
_IN_TAGS = re.compile(r"\s*<think>(.*?)</think>\s*", re.DOTALL)


def settings_of(data: Data, stage: str) -> dict[str, Any]:
    """What the recipe says to a stage's tokenize function, beside the longest length."""
    return {"thinking": data.thinking} | ({"trained_turns": data.trained_turns} if stage == "sft" else {})


def thought_of(message: Message) -> str:
    """The assistant's thought: ``reasoning_content``, or what stands in ``<think>`` tags before the answer; or ''."""
    own = next((message[key] for key in REASONING if message.get(key)), None)
    tagged = own is None and _IN_TAGS.match(message["content"])
    return (own or (tagged[1] if tagged else "")).strip()


def without_thought(message: Message) -> Message:
    """`message` without its thought."""
    kept = {key: value for key, value in message.items() if key not in REASONING}
    return kept | {"content": _IN_TAGS.sub("", message["content"], count=1)} if _starts_tagged(message) else kept


def with_own_thought(message: Message) -> Message:
    """`message` with a thought in tags moved into ``reasoning_content``."""
    if not _starts_tagged(message) or any(message.get(key) for key in REASONING):
        return message
    return without_thought(message) | {"reasoning_content": thought_of(message)}


def last_turn_only(chat: Chat) -> Chat:
    """`chat` with every assistant turn but the last kept out of the loss."""
    last = max(index for index, message in enumerate(chat.messages) if message["role"] == "assistant")
    return _training(chat, chat.messages, {last})


def one_row_a_thought(chats: Iterable[Chat]) -> Iterator[Chat]:
    """The chats, those with thoughts before their last turn as one chat for each trained turn, which ends it.

    Templates leave thoughts out of earlier turns, in training as in use: a thought is written in the last turn alone.
    """
    for chat in chats:
        said = [index for index, message in enumerate(chat.messages) if message["role"] == "assistant"]
        trained = [index for index in said if chat.messages[index].get("weight", 1)]
        if any(thought_of(chat.messages[index]) for index in trained if index != said[-1]):
            yield from (_training(chat, chat.messages[: index + 1], {index}) for index in trained)
        else:
            yield chat


def _training(chat: Chat, messages: list[Message], turns: set[int]) -> Chat:
    weighed = [
        message if message["role"] != "assistant" or index in turns else message | {"weight": 0}
        for index, message in enumerate(messages)
    ]
    return replace(chat, messages=weighed)


def _starts_tagged(message: Message) -> bool:
    return message["role"] == "assistant" and _IN_TAGS.match(message["content"]) is not None
