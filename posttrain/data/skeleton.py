"""The fast way to the trained parts of plain conversations: one rendering, checked against a known skeleton.

Templates look at who speaks, in which order; rarely at the words. So rows of one shape (the roles, the weights, where
there are thoughts) are written in one skeleton: fixed texts with the rows' words between them. The skeleton is learned
from a row of the same shape whose words are marks, whose trained parts are searched for in the slow way. A row's own
text, rendered by the template, must then be the skeleton filled with the row's words, character by character; where it
is not, the row is searched in the slow way too. So a skeleton never decides what is written, only where turns lie.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace

from posttrain.data.records import Chat, Message
from posttrain.data.template import Turns
from posttrain.errors import UserError

Span = tuple[int, int]
Shape = tuple[tuple[str, bool, bool], ...]
Slot = tuple[int, str]  # the message's index, and its key

_PLAIN = {"role", "content", "weight", "reasoning_content"}
_MOST_SHAPES = 4096


@dataclass(frozen=True)
class Skeleton:
    """Fixed texts, one more than `slots`, with the words of a message between each two.

    `bounds` are the spans' starts and ends in turn: the number of the fixed text, and the character in it.
    """

    fixed: list[str]
    slots: list[Slot]
    bounds: list[tuple[int, int]]

    def spans_in(self, text: str, messages: list[Message]) -> list[Span] | None:
        """The spans in `text`, if it is the skeleton with the messages' words, whole or trimmed; else None."""
        words = [messages[index][key] for index, key in self.slots]
        spans = self._spans(text, words)
        return spans if spans is not None else self._spans(text, [word.strip() for word in words])

    def _spans(self, text: str, words: list[str]) -> list[Span] | None:
        if text != "".join(itertools.chain.from_iterable(zip(self.fixed, [*words, ""], strict=True))):
            return None
        starts = [0]
        for piece, word in zip(self.fixed, words, strict=False):
            starts.append(starts[-1] + len(piece) + len(word))
        places = [starts[number] + at for number, at in self.bounds]
        return list(zip(places[::2], places[1::2], strict=True))


def shape_of(chat: Chat, turns: Turns) -> Shape | None:
    """The row's shape; None if it is not plain: tools, calls, an empty turn, or words with a special token in them."""
    if chat.tools is not None or len(turns.skeletons) > _MOST_SHAPES:
        return None
    shape = []
    for message in chat.messages:
        thought = message.get("reasoning_content", "-")
        if not message.keys() <= _PLAIN or not message["content"].strip() or not thought.strip():
            return None
        if turns.tokens.search(message["content"]) or turns.tokens.search(thought):
            return None
        shape.append((message["role"], message.get("weight", 1) == 1, "reasoning_content" in message))
    return tuple(shape)


def learn(chat: Chat, turns: Turns, search: Callable[[Chat], tuple[str, list[Span]]]) -> Skeleton | None:
    """The skeleton of the chat's shape, from `search` on a chat of marks; None where there is none to be had."""
    messages, marks = [], {}
    for index, message in enumerate(chat.messages):
        own = {key: f"\u2603{index}{key[0]}\u2603" for key in ("content", "reasoning_content") if key in message}
        marks.update({(index, key): mark for key, mark in own.items()})
        messages.append(message | own)
    try:
        text, spans = search(replace(chat, messages=messages))
    except UserError:  # said again, of the row itself
        return None
    found = sorted((text.find(mark), slot) for slot, mark in marks.items() if mark in text)
    if any(text.count(mark) > 1 for mark in marks.values()):
        return None
    if any(slot[1] == "content" and mark not in text for slot, mark in marks.items()):
        return None
    ends = [at + len(marks[slot]) for at, slot in found]
    starts = [0, *ends]
    fixed = [text[start:stop] for start, stop in zip(starts, [*(at for at, _ in found), len(text)], strict=True)]
    bounds = []
    for place in itertools.chain.from_iterable(spans):
        number = max(number for number, start in enumerate(starts) if start <= place)
        bounds.append((number, place - starts[number]))
    if any(at > len(fixed[number]) for number, at in bounds):
        return None  # inside of the words
    return Skeleton(fixed, [slot for _, slot in found], bounds)
