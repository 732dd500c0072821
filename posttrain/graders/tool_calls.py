"""The tool calls in a completion's text, in the shape of OpenAI's chat completions."""

from __future__ import annotations

import json
import re
from typing import Any

_HERMES = re.compile(r"<tool_call>(.*?)(?:</tool_call>|\Z)", re.DOTALL)
_MISTRAL = "[TOOL_CALLS]"
_LLAMA = "<|python_tag|>"
_BETWEEN = re.compile(r"[;\s]*")
_DECODER = json.JSONDecoder()


def parse_tool_calls(text: str) -> list[dict[str, Any]]:
    """Return the calls in the text, in order: [{"id", "type": "function", "function": {"name", "arguments"}}].

    `arguments` is JSON text, as OpenAI has it. Read are ``<tool_call>{json}</tool_call>`` (Hermes, Qwen),
    ``[TOOL_CALLS][{json}, …]`` (Mistral), and a whole text that is a call in JSON or several, listed or parted
    by ``;`` (Llama 3.1, with ``parameters``). What is none of these is no call.
    """
    written = [value for piece in _pieces(text) for value in _json_values(piece)]
    listed = [call for value in written for call in (value if isinstance(value, list) else [value])]
    calls = [call for call in listed if _is_call(call)]
    return [_openai(call, index) for index, call in enumerate(calls)]


def _pieces(text: str) -> list[str]:
    if "<tool_call>" in text:
        return _HERMES.findall(text)
    if _MISTRAL in text:
        return text.split(_MISTRAL)[1:]
    # A tokenizer that leaves out special tokens leaves only the JSON of Mistral's and Llama's calls.
    bare = text.strip().removeprefix(_LLAMA).strip()
    return [bare] if bare.startswith(("{", "[{")) else []


def _json_values(text: str) -> list[Any]:
    """Return the JSON values at the start of the text, one after the other, parted by ``;`` or white space."""
    values: list[Any] = []
    at = _BETWEEN.match(text).end()  # type: ignore[union-attr]
    while text.startswith(("{", "["), at):
        try:
            value, end = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError):
            break
        values.append(value)
        at = _BETWEEN.match(text, end).end()  # type: ignore[union-attr]
    return values


def _is_call(call: Any) -> bool:
    return isinstance(call, dict) and isinstance(call.get("name"), str) and isinstance(_arguments(call), dict)


def _arguments(call: dict[str, Any]) -> Any:
    arguments = call.get("arguments", call.get("parameters"))
    if isinstance(arguments, str):
        try:
            return json.loads(arguments)
        except (ValueError, RecursionError):
            return None
    return arguments


def _openai(call: dict[str, Any], index: int) -> dict[str, Any]:
    arguments = json.dumps(_arguments(call), ensure_ascii=False)
    identity = call["id"] if isinstance(call.get("id"), str) else f"call_{index}"
    return {"id": identity, "type": "function", "function": {"name": call["name"], "arguments": arguments}}
