"""What a shape is, and the parts that the shapes share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from posttrain.data.messages import REASONING
from posttrain.data.records import Chat, Feedback, Message, Preference, Problem, Record


class Unfit(Exception):
    """A shape cannot say what a record says; the message is the reason, in words that can be counted."""


def _as_it_is(record: Any) -> Any:
    return record


@dataclass(frozen=True)
class Shape:
    """How a stage's records are written as rows.

    `reads` names the row format that reads the rows back. `normal` is what the record is taken for first, where the
    shape needs more than it says (ids of tool calls) or has no word for what goes without saying (weight 1).
    """

    reads: str
    write: Callable[[Any], dict[str, Any]]
    normal: Callable[[Any], Any] = _as_it_is


def turns_of(record: Record) -> list[Message]:
    """Every turn of the record, in order."""
    if isinstance(record, Chat):
        return record.messages
    if isinstance(record, Preference):
        return record.prompt + record.chosen + record.rejected
    if isinstance(record, Feedback):
        return record.prompt + record.completion
    return record.prompt


def refuse_weights(record: Chat) -> None:
    """Raise Unfit for an assistant turn that is kept out of the loss."""
    if any(turn.get("weight") == 0 for turn in record.messages):
        raise Unfit("a turn with weight 0, which would be trained")


def refuse_thinking(record: Record) -> None:
    """Raise Unfit for thinking that stands apart from the text."""
    if any(key in turn for turn in turns_of(record) for key in REASONING):
        raise Unfit("thinking beside the text")


def only(turns: list[Message], name: str) -> Message:
    """The one turn of an answer; raises Unfit where it has several."""
    if len(turns) != 1:
        raise Unfit(f"{name} of several turns")
    return turns[0]


def with_tools(row: dict[str, Any], record: Record) -> dict[str, Any]:
    """`row`, and the record's tool schemas if it has any."""
    return row | {"tools": record.tools} if record.tools else row


def fields_of(problem: Problem) -> dict[str, Any]:
    """What a problem says beside its prompt."""
    return {key: value for key, value in problem.fields.items() if key != "prompt"}
