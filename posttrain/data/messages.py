"""Messages and tool schemas from their many spellings to the chat-completions shape."""

from __future__ import annotations

import difflib
import math
import re
from typing import Any

from posttrain.data.json_text import parse_json
from posttrain.data.records import Message
from posttrain.data.thinking import REASONING
from posttrain.errors import UserError, brief, did_you_mean, listed

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
_READ = {"role", "from", "content", "value", "tool_calls", "function_call", "weight", *_KEPT}
_TEXT_PARTS = (None, "text", "input_text", "output_text")
_MESSAGES = re.compile(r"\s*\[\s*\{")
_BROKEN_MESSAGES = re.compile(r"""\s*\[\s*\{\s*(["'])(role|from)\1\s*:\s*\1(\w+)\1""")


def read_messages(value: Any, place: str, column: str) -> list[Message]:
    """The messages in `value`: a list in the chat-completions or the ShareGPT shape, or JSON text of one.

    Content is a string ('' beside tool calls), tool-call arguments are objects, roles are system, user,
    assistant and tool. Raises UserError at `place`.
    """
    value = parse_json_text(value, place, column)
    if not isinstance(value, list) or not value:
        raise UserError(f"{column} must be a list of messages", where=place)
    messages = [_read_message(message, place, f"{column}[{index}]") for index, message in enumerate(value)]
    _check_tool_turns(messages, place, column)
    return messages


def is_number(value: Any) -> bool:
    """Whether `value` is a number that may stand for text, as its digits: NaN is how pandas writes what is missing."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def read_turn(value: Any, place: str, column: str, role: str) -> list[Message]:
    """`value` as messages: text is one turn of `role`, an object one message, a list is messages."""
    if is_number(value):
        value = str(value)
    if isinstance(value, str):
        listed = _listed_messages(value, place, column)
        if listed is None:
            return [{"role": role, "content": value}]
        value = listed
    if not isinstance(value, dict | list):
        raise UserError(f"{column} must be text or messages, not {brief(value)}", where=place)
    return read_messages([value] if isinstance(value, dict) else value, place, column)


def read_tools(value: Any, place: str) -> list[dict[str, Any]] | None:
    """The tool schemas in `value` (a list, or JSON text of it), wrapped as OpenAI does; None if empty."""
    value = parse_json_text(value, place, "tools")
    if value is None or value == [] or (isinstance(value, str) and not value.strip()):
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
        return parse_json(value)
    except ValueError as error:
        fix = _FIX_JSON if value.lstrip().startswith(("['", "[{'", "{'")) else None
        raise UserError(f"{column} is text but not valid JSON: {error}", where=place, fix=fix) from error


_FIX_JSON = "It looks like Python's str() of a list: write json.dumps of it."


def _listed_messages(value: str, place: str, column: str) -> list[Any] | None:
    """The messages in JSON text of them; None for other text, which may well be an answer in JSON.

    Raises UserError for text that was meant as messages and is not whole.
    """
    if not _MESSAGES.match(value):
        return None
    try:
        parsed = parse_json(value)
    except ValueError as error:
        meant = _BROKEN_MESSAGES.match(value)
        if meant is None or meant[3] not in ROLES:
            return None
        fix = _FIX_JSON if meant[1] == "'" else None
        raise UserError(f"{column} looks like messages but is not valid JSON: {error}", where=place, fix=fix) from error
    return parsed if all(map(_speaks, parsed)) else None


def _speaks(item: Any) -> bool:
    return isinstance(item, dict) and (
        ("role" in item and ("content" in item or "tool_calls" in item)) or ("from" in item and "value" in item)
    )


def _read_message(message: Any, place: str, column: str) -> Message:
    if not isinstance(message, dict):
        raise UserError(f"{column} must be an object with role and content", where=place)
    spoken = message.get("role", message.get("from"))
    if not isinstance(spoken, str) or spoken not in ROLES:
        guess = did_you_mean(spoken, ROLES) if isinstance(spoken, str) else ""
        raise UserError(
            f"{column}: unknown role {brief(spoken)}.{guess}", where=place, fix=f"Known: {', '.join(ROLES)}."
        )
    role = ROLES[spoken]
    content = message.get("content", message.get("value"))
    if len(message) == 2 and isinstance(content, str) and role != "function_call":
        return {"role": role, "content": content}  # most messages say no more
    if unread := [key for key in message.keys() - _READ if message[key] is not None]:
        _refuse_misspelt(unread, place, column)
    if role == "function_call":  # ShareGPT: the call itself is the turn's text
        said = parse_json_text(message.get("value", message.get("content")), place, column)
        listed_calls = said if isinstance(said, list) else [said]
        return {"role": "assistant", "content": "", "tool_calls": _read_calls(listed_calls, place, column)}
    if message.get("function_call"):
        raise UserError(
            f"{column}: function_call is OpenAI's older spelling", where=place, fix="Use tool_calls: [...]."
        )
    read: Message = {"role": role, "content": ""}
    calls: Any = parse_json_text(message.get("tool_calls"), place, f"{column}.tool_calls")
    if calls in ("", []):
        calls = None
    if calls is not None:
        if role != "assistant":
            raise UserError(f"{column}: tool_calls on a {role} turn", where=place, fix="Assistant turns make them.")
        read["tool_calls"] = _read_calls(calls, place, f"{column}.tool_calls")
    if content is not None or not calls:
        read["content"] = _read_content(content, place, column)
    for key in _KEPT:
        if (value := message.get(key)) is not None:
            if not isinstance(value, str):
                raise UserError(f"{column}.{key} must be text, not {brief(value)}", where=place)
            read[key] = value
    return read | _read_weight(message, role, place, column)


def _refuse_misspelt(keys: list[str], place: str, column: str) -> None:
    """Keys that say something else are not read; one that nearly is one of ours was meant as that."""
    for key in sorted(keys):
        if near := difflib.get_close_matches(key[:40], _READ, n=1, cutoff=0.8):
            raise UserError(f"{column}: unknown key {brief(key)}. Did you mean '{near[0]}'?", where=place)


def _check_tool_turns(messages: list[Message], place: str, column: str) -> None:
    """A tool's result follows the assistant's call, and names one of its calls where both have ids."""
    ids: set[str] | None = None
    for index, message in enumerate(messages):
        if message["role"] == "assistant":
            made = [call.get("id") for call in message.get("tool_calls", [])]
            ids = {str(name) for name in made} if made and all(made) else set()
        elif message["role"] != "tool":
            ids = None
        elif ids is None:
            raise UserError(
                f"{column}[{index}]: a tool turn without a call before it",
                where=place,
                fix="The assistant's turn before it has tool_calls, or the call in its text.",
            )
        elif ids and message.get("tool_call_id") is not None and message["tool_call_id"] not in ids:
            raise UserError(
                f"{column}[{index}]: tool_call_id {brief(message['tool_call_id'])} is none of the calls before it",
                where=place,
                fix=f"Those: {listed(sorted(ids))}.",
            )


def _read_content(content: Any, place: str, column: str) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list) and content:
        parts = [
            (part.get("text") if part.get("type") in _TEXT_PARTS else None) if isinstance(part, dict) else part
            for part in content
        ]
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
            f"{column}: weight {brief(weight)} on a {role} turn",
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
    if not isinstance(function, dict) or not _is_name(function.get("name")):
        raise UserError(f"{column}: a tool call needs function.name", where=place)
    arguments = function.get("arguments", {})
    if isinstance(arguments, str):
        arguments = parse_json_text(arguments, place, f"{column}.arguments") if arguments.strip() else {}
    if not isinstance(arguments, dict):
        raise UserError(f"{column}: the arguments of {brief(function['name'])} must be an object", where=place)
    read = {"type": "function", "function": {"name": function["name"], "arguments": arguments}}
    if call.get("id") in (None, ""):
        return read
    if not isinstance(call["id"], str):
        raise UserError(f"{column}: the id of a tool call must be text, not {brief(call['id'])}", where=place)
    return {"id": call["id"], **read}


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _read_tool(tool: Any, place: str) -> dict[str, Any]:
    function = tool.get("function", tool) if isinstance(tool, dict) else None
    if not isinstance(function, dict) or not _is_name(function.get("name")):
        raise UserError("a tool schema needs a name", where=place, fix='{"type": "function", "function": {"name": …}}')
    name = brief(function["name"])
    if not isinstance(function.get("description", ""), str | type(None)):
        raise UserError(f"the description of the tool {name} must be text", where=place)
    parameters = parse_json_text(function.get("parameters"), place, "tools")
    if not isinstance(parameters, dict | type(None)):
        raise UserError(f"the parameters of the tool {name} must be an object (a JSON schema)", where=place)
    return {"type": "function", "function": function if parameters is None else function | {"parameters": parameters}}
