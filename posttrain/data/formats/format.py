"""What a row format is, and the parts that the formats share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from posttrain.data.messages import is_number, read_tools, read_turn
from posttrain.data.records import Message, Record
from posttrain.errors import UserError, brief, did_you_mean, listed

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Format:
    """A row format: its short title, the columns it needs, whether a row fits it, and how it is read."""

    title: str
    needs: str
    fits: Callable[[Row], bool]
    read: Callable[[Row, str], Record]


def has(row: Row, *names: str) -> bool:
    """Whether the row has every one of the columns, filled."""
    return all(row.get(name) is not None for name in names)


def column(row: Row, place: str, *names: str) -> Any:
    """The value of the first of the columns that the row has filled. Raises UserError where there is none."""
    for name in names:
        if row.get(name) is not None:
            return row[name]
    state = "is empty" if names[0] in row else "is missing"
    guess = "" if names[0] in row else did_you_mean(names[0], map(str, row))
    raise UserError(
        f"the column {names[0]} {state}.{guess}",
        where=place,
        fix=f"The row's columns: {listed(row)}.",
    )


def text(row: Row, place: str, *names: str) -> str:
    """Like `column`, for text; numbers count as their digits, as in a CSV file."""
    value = column(row, place, *names)
    if is_number(value):
        return str(value)
    if not isinstance(value, str):
        raise UserError(f"the column {names[0]} must be text, not {brief(value)}", where=place)
    return value


def prompt_of(row: Row, place: str, *names: str) -> list[Message]:
    """The messages of the prompt column (text, or messages), which must leave the turn to the assistant."""
    messages = read_turn(column(row, place, *names), place, names[0], "user")
    return check_prompt(with_system(messages, row, place), place)


def answer_of(row: Row, place: str, *names: str) -> list[Message]:
    """The messages of an answer column (text, one message, messages), which must begin with the assistant."""
    turns = read_turn(column(row, place, *names), place, names[0], "assistant")
    if turns[0]["role"] != "assistant":
        raise UserError(f"{names[0]} must begin with an assistant turn, not {turns[0]['role']}", where=place)
    return turns


def check_prompt(prompt: list[Message], place: str) -> list[Message]:
    """`prompt`, if it asks something and leaves the turn to the assistant; else raises UserError."""
    if not prompt or prompt[-1]["role"] not in ("user", "tool"):
        last = prompt[-1]["role"] if prompt else "nothing"
        raise UserError(
            f"the prompt must end with a user (or tool) turn, it ends with {last}",
            where=place,
            fix="Leave out what the model is to say.",
        )
    if prompt[-1]["role"] == "user" and not prompt[-1]["content"].strip():
        raise UserError("the prompt is empty", where=place)
    return prompt


def with_system(messages: list[Message], row: Row, place: str) -> list[Message]:
    """`messages`, opened by the row's own ``system`` column where it has one and they have no system turn."""
    system = row.get("system")
    if system is not None and not isinstance(system, str):
        raise UserError(f"the column system must be text, not {brief(system)}", where=place)
    if not system or not system.strip() or messages[0]["role"] == "system":
        return messages
    return [{"role": "system", "content": system}, *messages]


def tools_of(row: Row, place: str) -> list[dict[str, Any]] | None:
    """The row's tool schemas, or None."""
    return read_tools(row.get("tools"), place)
