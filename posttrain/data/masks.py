"""Which part of a conversation is trained: the assistant's turns with the token that ends each.

Where the chat template marks generation (``{% generation %}``) its marks are taken, if they cover each turn
and its end. Else a turn begins where the generation prompt ends, and ends where the conversation so far does.
Templates that write earlier turns differently once others follow (thinking left out) need a closer look.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from posttrain.data.records import Chat, Message
from posttrain.data.skeleton import MOST_SHAPES, Skeleton, Span, learn, shape_of, words_in
from posttrain.data.template import (
    FIX,
    Turns,
    check_answer,
    check_context,
    check_thought,
    check_tools,
    common_prefix,
    render,
    with_thoughts,
    without_answer,
)
from posttrain.data.thinking import DEFAULT, VARIABLES, Thinking
from posttrain.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_MARK = re.compile(r"\{%-?\s*generation\s*-?%\}")
IGNORED = -100  # the label that torch's cross-entropy leaves out


def trained_spans(tokenizer: PreTrainedTokenizerBase, chat: Chat, turns: Turns) -> tuple[str, list[Span]]:
    """The conversation's text, and the ``(start, end)`` characters of each trained assistant turn in it.

    Each span is verified to hold the turn's words and the token that ends it. Raises UserError at the row.
    """
    messages = with_thoughts(chat.messages, turns)
    chat = chat if messages is chat.messages else replace(chat, messages=messages)
    words = words_in(chat, turns)
    if words is None:
        return searched_spans(tokenizer, chat, turns)
    shape = shape_of(chat, words)
    if shape not in turns.skeletons:
        if len(turns.skeletons) >= MOST_SHAPES:
            turns.skeletons.clear()
        turns.skeletons[shape] = learn(
            chat,
            words,
            lambda other: searched_spans(tokenizer, other, turns),
            lambda other: render(tokenizer, other.messages, other.tools, thinking=turns.thinking, place=chat.place),
        )
    skeleton: Skeleton | None = turns.skeletons[shape]
    if skeleton is not None:
        text = render(tokenizer, chat.messages, chat.tools, thinking=turns.thinking, place=chat.place)
        spans = skeleton.spans_in(text, words)
        if spans is not None:
            check_tools(text, chat.tools, turns, chat.place)
            return text, spans
    return searched_spans(tokenizer, chat, turns)


def searched_spans(tokenizer: PreTrainedTokenizerBase, chat: Chat, turns: Turns) -> tuple[str, list[Span]]:
    """The same as `trained_spans`, by rendering parts of the conversation: slow, and right for any row."""
    marked = _marked_spans(tokenizer, chat, turns)
    if marked is not None:
        return marked
    text = render(tokenizer, chat.messages, chat.tools, thinking=turns.thinking, place=chat.place)
    check_tools(text, chat.tools, turns, chat.place)
    check_context(text, chat.messages, chat.place)
    spans = []
    for index, message in enumerate(chat.messages):
        if message["role"] != "assistant" or message.get("weight", 1) == 0:
            continue
        span = _span(tokenizer, chat, index, text, turns)
        check_answer(text[slice(*span)], message, turns, chat.place)
        if index == len(chat.messages) - 1:
            check_thought(text[slice(*span)], message, chat.place)
        spans.append(span)
    return text, spans


def labels_of(ids: list[int], offsets: list[Span], spans: list[Span]) -> list[int]:
    """`ids` where the token has a character in a span, else -100. `offsets`: each token's characters."""
    labels = [IGNORED] * len(ids)
    for start, end in spans:
        first = bisect_left(offsets, True, key=lambda token: token[1] > start)
        # A token of trimmed blanks has no width: it belongs where it ends.
        last = bisect_left(offsets, True, key=lambda token: token[0] >= end and token[1] > end)
        labels[first:last] = ids[first:last]
    return labels


def _marked_spans(tokenizer: PreTrainedTokenizerBase, chat: Chat, turns: Turns) -> tuple[str, list[Span]] | None:
    """The spans that the template marks, or None where it marks none, or not each turn to its end."""
    template = tokenizer.get_chat_template(None, chat.tools)
    if not _MARK.search(template):
        return None
    from transformers.utils.chat_template_utils import render_jinja_template

    variables: dict[str, Any] = {**tokenizer.special_tokens_map, **VARIABLES[turns.thinking]}
    tools: Any = chat.tools
    try:
        rendered: Any = render_jinja_template(
            [chat.messages], tools, chat_template=template, return_assistant_tokens_mask=True, **variables
        )
    except Exception:  # said again, with its place, by the plain rendering
        return None
    text: str = rendered[0][0]
    marks = ((start, end) for start, end in rendered[1][0] if start < end)
    spans: list[Span] = [(_after_header(text, start, turns.header), end) for start, end in marks]
    said = [message for message in chat.messages if message["role"] == "assistant"]
    if len(said) != len(spans) or not _covers(text, spans, said, turns, chat.place):
        return None
    check_tools(text, chat.tools, turns, chat.place)
    check_context(text, chat.messages, chat.place)
    if chat.messages[-1]["role"] == "assistant" and chat.messages[-1].get("weight", 1):
        check_thought(text[slice(*spans[-1])], chat.messages[-1], chat.place)
    return text, [span for span, message in zip(spans, said, strict=True) if message.get("weight", 1)]


def _after_header(text: str, start: int, header: str) -> int:
    """`start`, or the end of the generation prompt that stands across it or after it: the model never writes that."""
    at = text.rfind(header, max(0, start - len(header)), start + len(header)) if header else -1
    return max(start, at + len(header)) if at >= 0 else start


def _covers(text: str, spans: list[Span], said: list[Message], turns: Turns, place: str) -> bool:
    try:
        for span, message in zip(spans, said, strict=True):
            check_answer(text[slice(*span)], message, turns, place)
    except UserError:
        return False
    return True


def _span(tokenizer: PreTrainedTokenizerBase, chat: Chat, index: int, text: str, turns: Turns) -> Span:
    start, end = _start(tokenizer, chat, index, text, turns), _end(tokenizer, chat, index, text, turns)
    if start is not None and end is not None:
        return start, end
    return _span_by_difference(tokenizer, chat, index, text, turns, start, end)


def _start(tokenizer: PreTrainedTokenizerBase, chat: Chat, index: int, text: str, turns: Turns) -> int | None:
    """Where the generation prompt before the turn ends, if the text begins with it."""
    if index == 0:
        return None
    before = _prompt(tokenizer, chat, chat.messages[:index], turns.thinking)
    return len(before) if text.startswith(before) else None


def _prompt(tokenizer: PreTrainedTokenizerBase, chat: Chat, messages: list[Message], thinking: Thinking) -> str:
    return render(tokenizer, messages, chat.tools, add_generation_prompt=True, thinking=thinking, place=chat.place)


def _start_after_words(
    tokenizer: PreTrainedTokenizerBase, chat: Chat, index: int, text: str, turns: Turns
) -> int | None:
    """Where the generation prompt ends that follows the words of the message before the turn.

    Needed where the text does not begin with the prompt: an earlier turn is written differently in it.
    """
    if index == 0:
        return None
    messages = list(chat.messages)
    messages[index - 1] = without_answer(messages[index - 1])
    other = render(tokenizer, messages, chat.tools, thinking=turns.thinking, place=chat.place)
    said = len(text) - common_prefix(text[::-1], other[::-1])
    for thinking in dict.fromkeys((turns.thinking, DEFAULT)):
        before = _prompt(tokenizer, chat, chat.messages[:index], thinking)
        changed = _prompt(tokenizer, chat, messages[:index], thinking)
        tail = before[len(before) - common_prefix(before[::-1], changed[::-1]) :]
        if other != text and before != changed and tail and text.startswith(tail, said):
            return said + len(tail)
    return None


def _end(tokenizer: PreTrainedTokenizerBase, chat: Chat, index: int, text: str, turns: Turns) -> int | None:
    """Where the conversation up to the turn ends, if the text begins with it."""
    if index == len(chat.messages) - 1:
        return len(text)
    upto = render(tokenizer, chat.messages[: index + 1], chat.tools, thinking=turns.thinking, place=chat.place)
    return len(upto) if text.startswith(upto) else None


def _span_by_difference(
    tokenizer: PreTrainedTokenizerBase,
    chat: Chat,
    index: int,
    text: str,
    turns: Turns,
    start: int | None,
    end: int | None,
) -> Span:
    """The turn found by writing the conversation again with other words in it, and looking what changes.

    It starts after the last assistant header before the change, and ends with the first stop token after it.
    """
    messages = list(chat.messages)
    messages[index] = without_answer(messages[index])
    other = render(tokenizer, messages, chat.tools, thinking=turns.thinking, place=chat.place)
    if other == text:
        raise UserError(f"the chat template leaves out turn {index + 1}", where=chat.place, fix=FIX)
    if start is None:
        start = _start_after_words(tokenizer, chat, index, text, turns)
    if start is None:
        changes = common_prefix(text, other)
        header = text.rfind(turns.header, 0, changes) if turns.header else -1
        start = header + len(turns.header) if header >= 0 else None
    if end is None:
        same_again = len(text) - common_prefix(text[::-1], other[::-1])
        stops = [(text.find(stop, same_again), stop) for stop in turns.stops]
        found = min(((at, -len(stop)) for at, stop in stops if at >= 0), default=None)
        end = found[0] - found[1] if found else None
    if start is None or end is None or start >= end:
        raise UserError(
            f"the chat template writes turn {index + 1} so that its start or end cannot be found",
            where=chat.place,
            fix="Set model.chat_template to one that marks the assistant's turns with {% generation %}.",
        )
    return start, end + len(text[end:]) - len(text[end:].lstrip())
