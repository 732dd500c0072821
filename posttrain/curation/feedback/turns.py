"""The turns of a prompt or an answer, out of what tracing libraries wrap around them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from posttrain.data.messages import ROLES, read_messages
from posttrain.data.records import Message
from posttrain.errors import UserError

EMPTY_PROMPT = "an empty prompt"
EMPTY_ANSWER = "an empty answer"
ONLY_TOOLS = "an answer that only calls tools"
NOT_TEXT = "a prompt or an answer that is not text"
NOT_LAST = "a prompt that does not end with the user's turn"

# Where an application's own inputs and outputs keep the text, by name without regard to case.
_INSIDE = (
    "messages",
    "message",
    "choices",
    "generations",
    "chat_history",
    "content",
    "text",
    "value",
    "input",
    "output",
    "question",
    "query",
    "prompt",
    "answer",
    "response",
    "completion",
    "result",
)
_PARTS = ("text", "input_text", "output_text")  # OpenAI's, of one message
_DEEPEST = 8


class Unusable(Exception):
    """The reason to leave an answer out, in words that can be counted."""


def turns_of(value: Any, role: str, depth: int = 0) -> list[Message]:
    """The messages in `value`: text is one turn of `role`; lists and objects are opened down to messages.

    LangChain's serialized messages (``{"lc": 1, "kwargs": {"content": …, "type": "human"}}``, ``{"type": "human",
    "data": {…}}``) and its lists of lists count as what they hold. Raises Unusable where there is no text.
    """
    if depth > _DEEPEST:
        raise Unusable(NOT_TEXT)
    value = _parsed(value)
    if value is None:
        return []
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    if isinstance(value, bool) or not isinstance(value, list | dict):
        return [{"role": role, "content": str(value)}]
    if isinstance(value, list):
        return _listed(value, role, depth)
    message = _message(value)
    if message is not None:
        return _read([message])
    names = {str(name).casefold(): inner for name, inner in value.items()}
    for name in _INSIDE:
        if names.get(name) not in (None, "", []):
            return turns_of(names[name], role, depth + 1)
    texts = [inner for inner in value.values() if isinstance(inner, str) and inner.strip()]
    if len(texts) == 1 and len(value) == 1:
        return [{"role": role, "content": texts[0]}]
    if not value or all(inner in (None, "", [], {}) for inner in value.values()):
        return []
    raise Unusable(NOT_TEXT)


def check_prompt(turns: list[Message]) -> list[Message]:
    """`turns`, if they ask something; else raises Unusable."""
    if not any(turn["role"] != "system" for turn in turns):
        raise Unusable(EMPTY_PROMPT)
    if turns[-1]["role"] not in ("user", "tool"):
        raise Unusable(NOT_LAST)
    if turns[-1]["role"] == "user" and not turns[-1]["content"].strip():
        raise Unusable(EMPTY_PROMPT)
    return turns


def check_answer(turns: list[Message]) -> list[Message]:
    """The answer's turns, if they end in words of the assistant; else raises Unusable."""
    if not turns or turns[-1]["role"] != "assistant":
        raise Unusable(EMPTY_ANSWER)
    if not turns[-1]["content"].strip():
        raise Unusable(ONLY_TOOLS if turns[-1].get("tool_calls") else EMPTY_ANSWER)
    return turns


def after(prompt: list[Message], answer: list[Message]) -> list[Message]:
    """`answer` without the prompt, where a log repeats it before the answer; and its last turn of the assistant alone
    where the prompt stands in it under another form."""
    if len(answer) > len(prompt) and answer[: len(prompt)] == prompt:
        return answer[len(prompt) :]
    if any(turn["role"] in ("user", "system") for turn in answer):
        return answer[-1:]
    return answer


def _listed(value: list[Any], role: str, depth: int) -> list[Message]:
    messages = [_message(_parsed(item)) for item in value]
    if value and all(message is not None for message in messages):
        return _read(messages)
    if value and all(isinstance(item, Mapping) and item.get("type") in _PARTS for item in value):
        return [{"role": role, "content": "".join(str(item.get("text") or "") for item in value)}]
    if len(value) == 1:  # choices, generations, a batch of one, a chain's positional argument
        return turns_of(value[0], role, depth + 1)
    raise Unusable(NOT_TEXT)


def _read(messages: list[Any]) -> list[Message]:
    try:
        return read_messages(messages, "", "messages")
    except UserError as error:
        raise Unusable(NOT_TEXT) from error


def _message(value: Any) -> Message | None:
    """The message that an object is, in the chat-completions shape; None if it is none."""
    if not isinstance(value, Mapping):
        return None
    if isinstance(value.get("role", value.get("from")), str):
        known = {key: inner for key, inner in value.items() if key != "weight"}  # a log's own, if any
        return {**known, "content": known.get("content", known.get("value")) or ""} | _calls(known)
    inner = value.get("kwargs") if "lc" in value else value.get("data")
    inner = inner if isinstance(inner, Mapping) else value
    kind = inner.get("type") if "lc" in value else value.get("type")
    if kind is None and isinstance(value.get("id"), list) and value["id"]:
        kind = value["id"][-1]  # ["langchain", "schema", "messages", "HumanMessage"]
    if not isinstance(kind, str) or "content" not in inner:
        return None
    role = {"ai": "assistant"}.get(name := kind.casefold().removesuffix("chunk").removesuffix("message"), name)
    if ROLES.get(role) is None:
        return None
    return {"role": role, "content": inner["content"] or ""} | _calls(inner)


def _calls(message: Mapping[str, Any]) -> Message:
    """The message's tool calls; LangChain has ``{"name": …, "args": {…}}``."""
    calls = message.get("tool_calls") or (message.get("additional_kwargs") or {}).get("tool_calls")
    if not isinstance(calls, list) or not calls:
        return {"tool_calls": None}
    renamed = [
        {"name": call["name"], "arguments": call["args"]} if isinstance(call, Mapping) and "args" in call else call
        for call in calls
    ]
    return {"tool_calls": renamed}


def _parsed(value: Any) -> Any:
    """JSON text, which CSV and blob exports keep nested values in, as what it says; other text as it is."""
    if not isinstance(value, str) or not value.lstrip().startswith(("[", "{")):
        return value
    try:
        parsed = json.loads(value)
    except (ValueError, RecursionError):
        return value
    return parsed if _speaks(parsed) else value


def _speaks(parsed: Any) -> bool:
    """Whether JSON is a wrapper around turns; an answer may well be JSON itself."""
    if isinstance(parsed, list):
        return bool(parsed) and all(_speaks(item) for item in parsed)
    if not isinstance(parsed, dict):
        return False
    wrappers = ("messages", "choices", "generations")
    return _message(parsed) is not None or any(name in parsed for name in wrappers)
