"""Conversations as the model reads them: the tokenizer's chat template, and what it ends a turn with."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from posttrain.data.messages import REASONING
from posttrain.data.records import Message
from posttrain.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Tools = list[Any] | None

FIX = "Set model.chat_template to one that writes every turn, and ends the assistant's with its own token."
_PROBE = "\u2603"


@dataclass(frozen=True)
class Turns:
    """How a template writes the assistant's turns: what opens one, what ends one, all that may end one."""

    header: str
    end: str
    stops: tuple[str, ...]


def render(
    tokenizer: PreTrainedTokenizerBase,
    messages: list[Message],
    tools: Tools = None,
    *,
    add_generation_prompt: bool = False,
    place: str | None = None,
) -> str:
    """The conversation as text, special tokens included. Raises UserError if the template cannot write it."""
    if not tokenizer.chat_template:
        raise UserError(
            "the tokenizer has no chat template",
            fix="Start from an instruct model, or set model.chat_template.",
        )
    seen = [{key: value for key, value in message.items() if key != "weight"} for message in messages]
    try:
        try:
            return _apply(tokenizer, seen, tools, add_generation_prompt)
        except TypeError:  # some templates (DeepSeek's) want a call's arguments as text
            return _apply(tokenizer, [_with_text_arguments(each) for each in seen], tools, add_generation_prompt)
    except Exception as error:  # a template is a program: it raises whatever it likes
        raise UserError(
            f"the chat template cannot render {'this row' if place else 'a chat'}: {error}",
            where=place or "model.chat_template",
            fix="Change the row (roles must often alternate), or set model.chat_template.",
        ) from error


def _apply(
    tokenizer: PreTrainedTokenizerBase, messages: list[Message], tools: Tools, add_generation_prompt: bool
) -> str:
    return str(
        tokenizer.apply_chat_template(
            messages, tools=tools, tokenize=False, add_generation_prompt=add_generation_prompt
        )
    )


def _with_text_arguments(message: Message) -> Message:
    if not message.get("tool_calls"):
        return message
    calls = [
        call | {"function": call["function"] | {"arguments": json.dumps(call["function"]["arguments"])}}
        for call in message["tool_calls"]
    ]
    return message | {"tool_calls": calls}


def probe_turns(tokenizer: PreTrainedTokenizerBase) -> Turns:
    """How the tokenizer's chat template opens and ends an assistant turn.

    Raises UserError where the turn does not end with a token of its own: a model trained so would never stop.
    """
    asked: list[Message] = [{"role": "user", "content": "?"}]
    answered = render(tokenizer, [*asked, {"role": "assistant", "content": _PROBE}])
    alone, prompted = render(tokenizer, asked), render(tokenizer, asked, add_generation_prompt=True)
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
    return Turns(header, end, tuple(special | {end, tokenizer.eos_token or end}))


def end_of_turn_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """The id of the token that ends an assistant turn: generation must stop at it, whatever the eos is."""
    return int(tokenizer.convert_tokens_to_ids(probe_turns(tokenizer).end))  # type: ignore[arg-type]


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
    if any(name not in body for name in names):
        raise UserError(f"the chat template leaves out the call of {names[0]}", where=place, fix=FIX)
    if not body.rstrip().endswith(turns.stops):
        raise UserError(
            f"an assistant turn ends with {body[-20:]!r}, not {turns.end}: the model would not learn to stop",
            where=place,
            fix=FIX,
        )


def without_answer(message: Message) -> Message:
    """`message` with all its own words replaced by a character that it does not contain."""
    words = json.dumps(message, ensure_ascii=False)
    mark = next(mark for mark in map(chr, range(ord(_PROBE), 0x3000)) if mark not in words)
    changed = message | {key: mark for key in ("content", *REASONING) if message.get(key)}
    if message.get("tool_calls"):
        changed["tool_calls"] = [
            call | {"function": call["function"] | {"arguments": {mark: mark}}} for call in message["tool_calls"]
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
