"""The fast way to the trained parts of conversations: one rendering, checked against a known skeleton.

Templates look at who speaks, in which order, and who calls tools; rarely at the words. So rows of one shape (the
roles, the weights, what each message has) are written in one skeleton: fixed texts with the rows' words between them.
The skeleton is learned from a row of the same shape whose words are marks, with one small tool if there are tools,
whose trained parts are searched for in the slow way. A row's own text, rendered by the template, must then be the
skeleton filled with the row's words, character by character; where it is not, the row is searched in the slow way too.
So a skeleton never decides what is written, only where turns lie. The schemas of tools are not compared: they are
what is left between the words before them and the words after them, and no turn begins or ends there.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from posttrain.data.records import Chat, Message
from posttrain.data.template import Turns
from posttrain.errors import UserError

Span = tuple[int, int]
Key = str | tuple[int, str]  # of a message, or of its call with that number
Words = dict[Key, str]
Slot = tuple[int, Key]  # the message's index, and its key
Form = Callable[[str], str]  # how a template writes a word
Shape = tuple[bool, tuple[tuple[str, bool, tuple[str, ...], tuple[Key, ...]], ...]]

_TEXTS = ("content", "reasoning_content")
_WORDS = {*_TEXTS, "name", "tool_call_id"}
_KNOWN = {"role", "weight", "tool_calls", *_WORDS}
MOST_SHAPES = 4096  # of some kilobytes each


@dataclass(frozen=True)
class Skeleton:
    """Fixed texts, one more than `slots`, with a word of a message between each two, written in the slot's form.

    `schemas` is the number of the fixed text that goes on with the tools' schemas. `bounds` are the spans' starts and
    ends in turn: the number of the fixed text, and the character in it.
    """

    fixed: list[str]
    slots: list[tuple[int, Key, Form]]
    schemas: int | None
    bounds: list[tuple[int, int]]

    def spans_in(self, text: str, words: list[Words]) -> list[Span] | None:
        """The spans in `text`, if it is the skeleton with the messages' words; else None."""
        written = [words[index][key] if form is str else form(words[index][key]) for index, key, form in self.slots]
        fixed = self.fixed
        if self.schemas is not None:
            at = self.schemas
            before = sum(map(len, fixed[:at])) + sum(map(len, written[:at]))
            after = sum(map(len, fixed[at + 1 :])) + sum(map(len, written[at:]))
            left = text[before : len(text) - after]
            if not left.startswith(fixed[at]):
                return None
            fixed = [*fixed[:at], left, *fixed[at + 1 :]]
        if text != "".join(itertools.chain.from_iterable(zip(fixed, [*written, ""], strict=True))):
            return None
        starts = [0]
        for piece, word in zip(fixed, written, strict=False):
            starts.append(starts[-1] + len(piece) + len(word))
        places = [starts[number] + at for number, at in self.bounds]
        return list(zip(places[::2], places[1::2], strict=True))


def words_in(chat: Chat, turns: Turns) -> list[Words] | None:
    """The words of each message; None if one is not plain: an empty turn, or words with a special token in them."""
    if chat.tools == []:
        return None
    found, special = [], turns.tokens.search
    for message in chat.messages:
        if not message.keys() <= _KNOWN or not message.get("reasoning_content", "-"):
            return None
        calls = message.get("tool_calls", ())
        if not message["content"] and not calls and message["role"] != "tool":
            return None
        words: Words = {key: word for key, word in message.items() if key in _WORDS and word}
        for number, call in enumerate(calls):
            words |= _words_of_call(number, call)
        for word in words.values():
            if not word.strip() or special(word):
                return None
        found.append(words)
    return found


def _words_of_call(number: int, call: dict[str, Any]) -> Words:
    words: Words = {(number, "name"): call["function"]["name"]}
    if call["function"]["arguments"]:
        words[number, "arguments"] = _as_json(call["function"]["arguments"])
    if "id" in call:
        words[number, "id"] = call["id"]
    return words


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)  # what `tojson` is in transformers' templates


def _in_quotes(text: str) -> str:
    return _as_json(text)[1:-1]


def shape_of(chat: Chat, words: list[Words]) -> Shape:
    """What the template is taken to look at: whether there are tools, the roles, what each message has."""
    return chat.tools is not None, tuple(
        (message["role"], message.get("weight", 1) == 1, tuple(message), tuple(own))
        for message, own in zip(chat.messages, words, strict=True)
    )


def learn(
    chat: Chat, words: list[Words], search: Callable[[Chat], tuple[str, list[Span]]], write: Callable[[Chat], str]
) -> Skeleton | None:
    """The skeleton of the chat's shape, from `search` on a chat of marks; None where there is none to be had."""
    marks, (tool, tools) = _marks(words), _small_tool(chat)
    quoted = {slot: f' "{mark}" ' if slot[1] in _TEXTS else mark for slot, mark in marks.items()}
    try:
        text, spans = search(replace(chat, messages=_with_words(chat, marks), tools=tools))
        other = write(replace(chat, messages=_with_words(chat, quoted), tools=tools))
    except UserError:  # said again, of the row itself
        return None
    slot_of = {mark: slot for slot, mark in reversed(marks.items())}
    pattern = re.compile("|".join(map(re.escape, [tool, *slot_of])))
    found: list[tuple[int, int, Slot]] = []
    schemas: list[tuple[int, int]] = []
    for match in pattern.finditer(text):
        if match[0] == tool:
            schemas.append((len(found), match.start()))
        else:
            found.append((match.start(), match.end(), slot_of[match[0]]))
    shown = [slot for _, _, slot in found]
    if any(shown.count(slot) != 1 for slot in marks if slot[1] == "content" or slot[1][1] == "arguments"):
        return None
    if any(shown.count(slot) > 1 for slot in marks if slot[1] in _TEXTS):
        return None
    if len({number for number, _ in schemas}) != (1 if tools else 0):
        return None  # in two places, or none
    starts = [0, *(end for _, end, _ in found)]
    fixed = [text[start:stop] for start, stop in zip(starts, [*(at for at, _, _ in found), len(text)], strict=True)]
    forms = _forms(chat, other, fixed, [(slot, quoted[slot]) for slot in shown])
    if forms is None or not all(fixed[1:-1]):
        return None
    bounds = []
    for place in itertools.chain.from_iterable(spans):
        number = max(number for number, start in enumerate(starts) if start <= place)
        bounds.append((number, place - starts[number]))
    if any(at > len(fixed[number]) for number, at in bounds):
        return None  # inside of the words
    slots = [(*slot, form) for slot, form in zip(shown, forms, strict=True)]
    if not schemas:
        return Skeleton(fixed, slots, None, bounds)
    gap, at = schemas[0]
    known = max((place for number, place in bounds if number == gap), default=0)
    if starts[gap] + known > at:
        return None  # a turn that begins or ends after the schemas
    fixed[gap] = fixed[gap][:known]
    return Skeleton(fixed, slots, gap, bounds)


def _marks(words: list[Words]) -> dict[Slot, str]:
    """A word for each slot that stands nowhere else, of nine characters as Mistral's ids; a result's is its call's."""
    marks: dict[Slot, str] = {}
    ids: dict[str, str] = {}
    for index, own in enumerate(words):
        for key, word in own.items():
            mark = f"\u2603{len(marks):07}\u2603"
            if key[1] == "arguments":
                mark = _as_json({mark: mark})
            elif key == "tool_call_id" or key[1] == "id":
                mark = ids.setdefault(word, mark)
            marks[index, key] = mark
    return marks


def _small_tool(chat: Chat) -> tuple[str, list[dict[str, Any]] | None]:
    """A name that stands nowhere else, and the tools to write instead of the chat's, if it has any."""
    name = "\u2604tool\u2604"
    function = {"name": name, "description": "?", "parameters": {"type": "object", "properties": {}}}
    return name, chat.tools and [{"type": "function", "function": function}]


def _with_words(chat: Chat, words: dict[Slot, str]) -> list[Message]:
    """The chat's messages with other words in their slots."""
    messages = []
    for index, message in enumerate(chat.messages):
        changed: Message = {key: words.get((index, key), value) for key, value in message.items()}
        if message.get("tool_calls"):
            changed["tool_calls"] = [
                _call(call, index, number, words) for number, call in enumerate(message["tool_calls"])
            ]
        messages.append(changed)
    return messages


def _call(call: dict[str, Any], index: int, number: int, words: dict[Slot, str]) -> dict[str, Any]:
    arguments = json.loads(words.get((index, (number, "arguments")), "{}"))
    changed = call | {"function": {"name": words[index, (number, "name")], "arguments": arguments}}
    return changed | {"id": words[index, (number, "id")]} if "id" in call else changed


def _forms(chat: Chat, text: str, fixed: list[str], words: list[tuple[Slot, str]]) -> list[Form] | None:
    """How `text`, the fixed texts with the `words` between them, writes each of these: whole, trimmed, or in JSON.

    An assistant's text in JSON would not be known again.
    """
    forms: list[Form] = []
    at = len(fixed[0])
    for ((index, key), word), piece in zip(words, fixed[1:], strict=True):
        possible: list[Form] = [str, str.rstrip, str.lstrip, str.strip]
        if key == "content" and chat.messages[index]["role"] != "assistant":
            possible.append(_in_quotes)
        form = next((form for form in possible if text.startswith(form(word) + piece, at)), None)
        if form is None:
            return None
        forms.append(form)
        at += len(form(word) + piece)
    return forms if text.startswith(fixed[0]) and at == len(text) else None
