"""Conversations as the model reads them: the tokenizer's chat template, and what it ends a turn with."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from posttrain.data.records import Message
from posttrain.data.thinking import REASONING, VARIABLES, Thinking, thought_of, with_own_thought, without_thought
from posttrain.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Tools = list[Any] | None

FIX = "Set model.chat_template to one that writes every turn, and ends the assistant's with its own token."
_PROBE = "\u2603"


@dataclass(frozen=True)
class Turns:
    """How a template writes the assistant's turns: what opens one, what ends one, all that may end one.

    `shows_tools`: it writes tool schemas. `own_thoughts`: it writes ``reasoning_content`` in a way of its own, other
    than ``<think>`` tags in the content. `tokens` finds a token of the tokenizer, or a tag of thoughts, in a text.
    `skeletons` are those found so far.
    """

    header: str
    end: str
    stops: tuple[str, ...]
    thinking: Thinking
    own_thoughts: bool
    shows_tools: bool
    tokens: re.Pattern[str]
    skeletons: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)


def render(
    tokenizer: PreTrainedTokenizerBase,
    messages: list[Message],
    tools: Tools = None,
    *,
    add_generation_prompt: bool = False,
    thinking: Thinking = "as_template",
    place: str | None = None,
) -> str:
    """The conversation as text, special tokens included. Raises UserError if the template cannot write it."""
    if not tokenizer.chat_template:
        raise UserError(
            "the tokenizer has no chat template",
            fix="Start from an instruct model, or set model.chat_template.",
        )
    seen = [_as_seen(message) for message in messages]
    try:
        template = _compiled(tokenizer, tools)
        variables = {**tokenizer.special_tokens_map, **VARIABLES[thinking], "tools": tools, "documents": None}
        variables["add_generation_prompt"] = add_generation_prompt
        try:
            return str(template.render(variables, messages=seen))
        except TypeError:  # some templates (DeepSeek's) want a call's arguments as text
            return str(template.render(variables, messages=[_with_text_arguments(each) for each in seen]))
    except Exception as error:  # a template is a program: it raises whatever it likes
        raise UserError(
            f"the chat template cannot render {'this row' if place else 'a chat'}: {error}",
            where=place or "model.chat_template",
            fix="Change the row (roles must often alternate), or set model.chat_template.",
        ) from error


def _compiled(tokenizer: PreTrainedTokenizerBase, tools: Tools) -> Any:
    """transformers' own compiled template, in its sandbox. `apply_chat_template` takes twice as long: it copies the
    messages, which may be rich objects there and are plain JSON here."""
    from transformers.utils import chat_template_utils

    return chat_template_utils._compile_jinja_template(tokenizer.get_chat_template(None, tools))


def _as_seen(message: Message) -> Message:
    """The message as a template gets it: no weight, and a thought under each name that templates read."""
    seen = {key: value for key, value in message.items() if key != "weight"}
    thought = next((message[key] for key in REASONING if message.get(key) is not None), None)
    return seen if thought is None else {"thinking": thought, **seen, "reasoning_content": thought}


def _with_text_arguments(message: Message) -> Message:
    if not message.get("tool_calls"):
        return message
    calls = [
        call | {"function": call["function"] | {"arguments": json.dumps(call["function"]["arguments"])}}
        for call in message["tool_calls"]
    ]
    return message | {"tool_calls": calls}


def probe_turns(tokenizer: PreTrainedTokenizerBase, thinking: Thinking = "as_template") -> Turns:
    """How the tokenizer's chat template opens and ends an assistant turn.

    Raises UserError where the turn does not end with a token of its own: a model trained so would never stop.
    """
    asked: list[Message] = [{"role": "user", "content": "?"}]
    answered = render(tokenizer, [*asked, {"role": "assistant", "content": _PROBE}], thinking=thinking)
    alone = render(tokenizer, asked, thinking=thinking)
    prompted = render(tokenizer, asked, add_generation_prompt=True, thinking=thinking)
    before = common_prefix(alone, prompted)
    header = prompted[before:][: common_prefix(prompted[before:], answered[before:])]
    tail = answered.partition(_PROBE)[2]
    added = [token.content for token in tokenizer.added_tokens_decoder.values()]
    end = max((token for token in added if tail.lstrip().startswith(token)), key=len, default="")
    if not end:
        raise UserError(
            f"the chat template ends an assistant turn with {tail!r}, and no token of the tokenizer's own: "
            "a model trained on it would never stop",
            fix=f"Set model.chat_template to one that writes {tokenizer.eos_token or 'an end token'} there.",
        )
    special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    stops = tuple(special | {end, tokenizer.eos_token or end})
    tokens = re.compile("|".join(map(re.escape, sorted({*added, "<think>", "</think>"}))))
    own, shows = _has_own_thoughts(tokenizer, asked), _shows_tools(tokenizer, asked)
    return Turns(header, end, stops, thinking, own, shows, tokens)


def _has_own_thoughts(tokenizer: PreTrainedTokenizerBase, asked: list[Message]) -> bool:
    own: Message = {"role": "assistant", "content": "!", "reasoning_content": _PROBE}
    tagged: Message = {"role": "assistant", "content": f"<think>\n{_PROBE}\n</think>\n\n!"}
    text = render(tokenizer, [*asked, own])
    return _PROBE in text and text != render(tokenizer, [*asked, tagged])


def _shows_tools(tokenizer: PreTrainedTokenizerBase, asked: list[Message]) -> bool:
    parameters = {"type": "object", "properties": {"x": {"type": "string"}}, "required": []}
    function = {"name": _PROBE, "description": "?", "parameters": parameters}
    try:
        return _PROBE in render(tokenizer, asked, [{"type": "function", "function": function}])
    except UserError:  # it has opinions on tools: the rows' own will tell
        return True


def with_thoughts(messages: list[Message], turns: Turns) -> list[Message]:
    """The messages with their thoughts as the recipe and the template want them: stripped, or where it reads them."""
    if turns.thinking == "strip":
        return [without_thought(message) if message["role"] == "assistant" else message for message in messages]
    return [with_own_thought(message) for message in messages] if turns.own_thoughts else messages


def end_of_turn_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """The id of the token that ends an assistant turn: generation must stop at it, whatever the eos is."""
    return int(tokenizer.convert_tokens_to_ids(probe_turns(tokenizer).end))  # type: ignore[arg-type]


def check_tools(text: str, tools: Tools, turns: Turns, place: str) -> None:
    """Raise UserError at `place` if the rendering does not show the model each of its tools."""
    for tool in tools or ():
        name = tool["function"]["name"]
        if not turns.shows_tools or not _has_word(text, name):
            raise UserError(
                f"the chat template leaves out the tools: {name} is not shown to the model",
                where=place,
                fix="Leave `tools` out of the rows, start from a model that knows tools, or set model.chat_template.",
            )


def _has_word(text: str, name: str) -> bool:
    """Whether `name` stands in `text` with no letter, digit or underscore beside it; far faster than a regex."""
    at = text.find(name)
    while at >= 0:
        beside = text[max(0, at - 1) : at] + text[at + len(name) : at + len(name) + 1]
        if not any(character.isalnum() or character == "_" for character in beside):
            return True
        at = text.find(name, at + 1)
    return False


def check_context(text: str, messages: list[Message], place: str) -> None:
    """Raise UserError at `place` if the rendering leaves out a system, user or tool turn."""
    for message in messages:
        said = message["content"].strip()
        if message["role"] == "assistant" or said in text:
            continue
        if json.dumps(message["content"], ensure_ascii=False) in text:  # tool results, by some templates
            continue
        raise UserError(f"the chat template leaves out the {message['role']} turn", where=place, fix=FIX)


def check_answer(body: str, message: Message, turns: Turns, place: str) -> None:
    """Raise UserError at `place` unless `body` holds the assistant's text and calls and ends the turn."""
    said = message["content"].rpartition("</think>")[2].strip()
    names = [call["function"]["name"] for call in message.get("tool_calls", ())]
    if said not in body:
        raise UserError("the chat template leaves out or changes an assistant turn", where=place, fix=FIX)
    lost = [name for name in names if not _has_word(body, name)]
    if lost:
        raise UserError(f"the chat template leaves out the call of {lost[0]}", where=place, fix=FIX)
    if not body.rstrip().endswith(turns.stops):
        raise UserError(
            f"an assistant turn ends with {body[-20:]!r}, not {turns.end}: the model would not learn to stop",
            where=place,
            fix=FIX,
        )


def check_thought(body: str, message: Message, place: str) -> None:
    """Raise UserError at `place` if `body`, the last turn, leaves out the thought of the row."""
    thought = thought_of(message)
    if thought not in body:
        raise UserError(
            "the chat template leaves out the thinking of the last turn",
            where=place,
            fix="Set data.thinking to strip, or write the thinking into the content as <think>…</think>.",
        )


def without_answer(message: Message) -> Message:
    """`message` with all its own words replaced by a character that it does not contain."""
    words = json.dumps(message, ensure_ascii=False)
    mark = next(mark for mark in map(chr, range(ord(_PROBE), 0x3000)) if mark not in words)
    changed = message | {key: mark for key in ("content", *REASONING) if message.get(key)}
    if message.get("tool_calls"):
        changed["tool_calls"] = [
            call | {"function": call["function"] | {"name": mark, "arguments": {mark: mark}}}
            for call in message["tool_calls"]
        ]
    return changed


def common_prefix(left: str, right: str) -> int:
    """The number of characters that both begin with, by bisection."""
    low, high = 0, min(len(left), len(right))
    while low < high:
        middle = (low + high + 1) // 2
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
