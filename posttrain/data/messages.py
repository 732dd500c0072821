"""Messages and tool schemas from their many spellings to the chat-completions shape."""

from __future__ import annotations

import json
from typing import Any

from posttrain.data.records import Message
from posttrain.data.thinking import REASONING
from posttrain.errors import UserError, did_you_mean

# Templates know `system`; few know OpenAI's newer `developer`, and the others would drop the turn unsaid.
ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
    "function_call": "function_call",
}
_KEPT = ("name", "tool_call_id", *REASONING)


def read_messages(value: Any, place: str, column: str) -> list[Message]:
    """The messages in `value`: a list in the chat-completions or the ShareGPT shape, or JSON text of one.

    Content is a string ('' beside tool calls), tool-call arguments are objects, roles are system, user,
    assistant and tool. Raises UserError at `place`.
    """
    value = parse_json_text(value, place, column)
    if not isinstance(value, list) or not value:
        raise UserError(f"{column} must be a list of messages", where=place)
    return [_read_message(message, place, f"{column}[{index}]") for index, message in enumerate(value)]


def read_turn(value: Any, place: str, column: str, role: str) -> list[Message]:
    """`value` as messages: text is one turn of `role`, an object one message, a list is messages."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, str):
        listed = _listed_messages(value)
        if listed is None:
            return [{"role": role, "content": value}]
        value = listed
    return read_messages([value] if isinstance(value, dict) else value, place, column)


def read_tools(value: Any, place: str) -> list[dict[str, Any]] | None:
    """The tool schemas in `value` (a list, or JSON text of it), wrapped as OpenAI does; None if empty."""
    value = parse_json_text(value, place, "tools")
    if not value:
        return None
    if not isinstance(value, list):
        raise UserError("tools must be a list of tool schemas", where=place)
    return [_read_tool(parse_json_text(tool, place, "tools"), place) for tool in value]


def text_of(messages: list[Message]) -> str:
    """The text of the last user turn, or '' where there is none."""
    return next((message["content"] for message in reversed(messages) if message["role"] == "user"), "")


def parse_json_text(value: Any, place: str, column: str) -> Any:
    """`value`, parsed when it is the text of a JSON list or object (CSV and Arrow keep nested values so)."""
    if not isinstance(value, str) or not value.lstrip().startswith(("[", "{")):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{column} is text but not valid JSON: {error}", where=place) from error


def _listed_messages(value: str) -> list[Any] | None:
    """The messages in JSON text of them; None for other text, which may well be an answer in JSON."""
    if not value.lstrip().startswith("[{"):
        return None
    try:
        parsed = json.loads(value)
    except (ValueError, RecursionError):
        return None
    speaks = [isinstance(item, dict) and ("role" in item or "from" in item) for item in parsed]
    return parsed if all(speaks) else None


def _read_message(message: Any, place: str, column: str) -> Message:
    if not isinstance(message, dict):
        raise UserError(f"{column} must be an object with role and content", where=place)
    spoken = message.get("role", message.get("from"))
    if not isinstance(spoken, str) or spoken not in ROLES:
        guess = did_you_mean(str(spoken), ROLES)
        raise UserError(f"{column}: unknown role {spoken!r}.{guess}", where=place, fix=f"Known: {', '.join(ROLES)}.")
    role = ROLES[spoken]
    if role == "function_call":  # ShareGPT: the call itself is the turn's text
        said = parse_json_text(message.get("value", message.get("content")), place, column)
        calls = said if isinstance(said, list) else [said]
        return {"role": "assistant", "content": "", "tool_calls": _read_calls(calls, place, column)}
    if message.get("function_call"):
        raise UserError(
            f"{column}: function_call is OpenAI's older spelling", where=place, fix="Use tool_calls: [...]."
        )
    read: Message = {"role": role, "content": ""}
    calls = parse_json_text(message.get("tool_calls"), place, f"{column}.tool_calls")
    if calls:
        read["tool_calls"] = _read_calls(calls, place, f"{column}.tool_calls")
    content = message.get("content", message.get("value"))
    if content is not None or not calls:
        read["content"] = _read_content(content, place, column)
    read.update({key: message[key] for key in _KEPT if message.get(key) is not None})
    return read | _read_weight(message, role, place, column)


def _read_content(content: Any, place: str, column: str) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list) and content:
        parts = [part.get("text") if isinstance(part, dict) else part for part in content]
        texts = [part for part in parts if isinstance(part, str)]
        if len(texts) == len(parts):
            return "".join(texts)
        raise UserError(f"{column}.content has parts other than text", where=place, fix="Only text is trained on.")
    raise UserError(f"{column}.content must be text, or a list of text parts", where=place)


def _read_weight(message: Message, role: str, place: str, column: str) -> Message:
    weight = message.get("weight")
    if weight is None:
        return {}
    if role != "assistant" or weight not in (0, 1):
        raise UserError(
            f"{column}: weight {weight!r} on a {role} turn",
            where=place,
            fix="Assistant turns take weight 0 or 1.",
        )
    return {"weight": int(weight)}


def _read_calls(calls: Any, place: str, column: str) -> list[dict[str, Any]]:
    if not isinstance(calls, list):
        raise UserError(f"{column} must be a list of tool calls", where=place)
    return [_read_call(parse_json_text(call, place, column), place, column) for call in calls]


def _read_call(call: Any, place: str, column: str) -> dict[str, Any]:
    function = call.get("function", call) if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise UserError(f"{column}: a tool call needs function.name", where=place)
    arguments = function.get("arguments", {})
    if isinstance(arguments, str):
        arguments = parse_json_text(arguments, place, f"{column}.arguments") if arguments.strip() else {}
    if not isinstance(arguments, dict):
        raise UserError(f"{column}: the arguments of {function['name']} must be an object", where=place)
    read = {"type": "function", "function": {"name": function["name"], "arguments": arguments}}
    return {"id": call["id"], **read} if call.get("id") else read


def _read_tool(tool: Any, place: str) -> dict[str, Any]:
    function = tool.get("function", tool) if isinstance(tool, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise UserError("a tool schema needs a name", where=place, fix='{"type": "function", "function": {"name": …}}')
    return {"type": "function", "function": function}
