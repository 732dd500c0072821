"""Where each turn of a conversation begins in its rendered text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from posttrain.data.records import Message
from posttrain.data.template import Tools, Turns, render
from posttrain.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def turn_starts(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], tools: Tools, text: str, turns: Turns
) -> list[int]:
    """The character of `text` with which each message's turn begins, its header included; never falling.

    What stands before the first is the template's own. A turn begins where the conversation before it ends, if the
    text begins with that; else its words are looked for, and it begins after the last end of a turn before them: what
    ends the assistant's last turn, or the special token behind other words.
    """
    starts: list[int] = []
    said = 0  # where the words of the turn before end
    ends = {turns.end}
    for index, message in enumerate(messages):
        start = _rendered_length(tokenizer, messages[:index], tools, text) if index else None
        at, end = _words(message, text, max(said, start or 0))
        after = text[end:].lstrip()
        ends |= set(sorted((stop for stop in turns.stops if end > at and after.startswith(stop)), key=len)[-1:])
        if start is None:
            start = said + _after_last(ends, text[said:at])
        starts.append(max([start, *starts[-1:]]))
        said = max(end, start)
    return starts


def answer_start(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], tools: Tools, text: str, turns: Turns
) -> int:
    """The character of a prompt's `text` with which the turn that is to be sampled begins."""
    start = _rendered_length(tokenizer, messages, tools, text)
    header = text.rfind(turns.header) if turns.header else -1
    return start if start is not None else header if header >= 0 else len(text)


def _rendered_length(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], tools: Tools, text: str
) -> int | None:
    try:
        before = render(tokenizer, list(messages), tools)
    except UserError:  # some templates write no conversation that has no user turn yet
        return None
    return len(before) if text.startswith(before) else None


def _words(message: Message, text: str, since: int) -> tuple[int, int]:
    """Where the message's own words begin and end, looked for from `since` on; there, if they are not found."""
    called = [call["function"]["name"] for call in message.get("tool_calls") or ()]
    content = message["content"].strip()
    spellings = [content, content.rpartition("</think>")[2].strip(), json.dumps(content, ensure_ascii=False), *called]
    for words in filter(None, spellings):
        at = text.find(words, since)
        if at >= 0:
            return at, at + len(words)
    return since, since


def _after_last(ends: set[str], between: str) -> int:
    """How much of the text between two turns' words belongs to the first of them."""
    at = max((between.rfind(end) + len(end) for end in ends if end in between), default=0)
    return len(between) - len(between[at:].lstrip()) if at else 0
