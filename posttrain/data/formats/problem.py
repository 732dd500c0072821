"""Problems that a grader can check: prompt and answer columns, messages with fields, OpenAI Evals items."""

from __future__ import annotations

from typing import Any

from posttrain.data.formats.format import (
    Format,
    Row,
    check_prompt,
    column,
    has,
    prompt_of,
    tools_of,
    with_system,
)
from posttrain.data.messages import read_messages, text_of
from posttrain.data.records import Message, Problem
from posttrain.errors import UserError

PROMPTS = ["prompt", "question", "problem", "instruction", "input", "query"]
ANSWERS = [
    "answer",
    "ground_truth",
    "target",
    "reference_answer",
    "gold_answer",
    "expected_answer",
    "final_answer",
]


def read_prompt(row: Row, place: str) -> Problem:
    """A prompt column (text or messages) and whatever columns the grader reads."""
    names = [name for name in PROMPTS if has(row, name)]
    if len(names) > 1 and names[0] != "prompt":
        raise UserError(
            f"several columns could be the prompt: {', '.join(names)}",
            where=place,
            fix=f"Say which, e.g. `columns: {{prompt: {names[0]}}}`.",
        )
    name = names[0] if names else "prompt"
    return _problem(prompt_of(row, place, name), row, {name}, place)


def read_conversation(row: Row, place: str) -> Problem:
    """Messages that end with the user's turn, and fields beside them: AI2's and OpenAI's RLVR rows."""
    messages = with_system(read_messages(column(row, place, "messages"), place, "messages"), row, place)
    if has(row, "dataset", "ground_truth") and len(messages) > 1 and messages[-1]["role"] == "assistant":
        messages = messages[:-1]  # AI2's rows may end with an example answer; open-instruct leaves it out too
    return _problem(check_prompt(messages, place), row, {"messages"}, place)


def read_item(row: Row, place: str) -> Problem:
    """OpenAI's Evals rows: everything inside ``item``."""
    item = column(row, place, "item")
    if not isinstance(item, dict):
        raise UserError("item must be an object", where=place)
    return read_conversation(item, place) if has(item, "messages") else read_prompt(item, place)


def _problem(prompt: list[Message], row: Row, spent: set[str], place: str) -> Problem:
    fields: dict[str, Any] = {key: value for key, value in row.items() if key not in spent}
    gold = next((name for name in ANSWERS if has(row, name)), None)
    if gold is not None and fields.get("answer") is None:
        fields["answer"] = row[gold]
    return Problem(prompt, fields | {"prompt": text_of(prompt)}, tools_of(row, place), place)


def problem_row(problem: Problem) -> dict[str, Any]:
    """Return a row that reads back as the same problem, whatever format it came from."""
    fields = {key: value for key, value in problem.fields.items() if key != "prompt"}
    return {"messages": problem.prompt, **fields}


FORMATS: dict[str, Format] = {
    "prompt_answer": Format(
        "prompt/answer",
        f"{' or '.join(PROMPTS)}, and the columns that the grader reads",
        lambda row: any(has(row, name) for name in PROMPTS) and not has(row, "messages"),
        read_prompt,
    ),
    "messages": Format(
        "messages with answer fields",
        "messages, and the columns that the grader reads",
        lambda row: has(row, "messages"),
        read_conversation,
    ),
    "item": Format(
        "OpenAI Evals items",
        "item",
        lambda row: has(row, "item") and set(row) <= {"item", "sample"},
        read_item,
    ),
}
