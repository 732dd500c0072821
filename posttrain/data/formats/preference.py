"""Pairs of answers: prompt/chosen/rejected, whole conversations, hh transcripts, OpenAI's preference rows."""

from __future__ import annotations

import re

from posttrain.data.formats.format import (
    Format,
    Row,
    answer_of,
    check_prompt,
    column,
    has,
    prompt_of,
    tools_of,
    with_system,
)
from posttrain.data.messages import read_messages, read_tools, read_turn
from posttrain.data.records import Message, Preference
from posttrain.errors import UserError

_PROMPTS = ("prompt", "messages", "conversations")
_SPEAKER = re.compile(r"(?:\A|\n\n)(Human|Assistant):")


def read_explicit(row: Row, place: str) -> Preference:
    """A prompt (text, messages or ShareGPT turns) and two answers; answers that repeat the prompt lose it."""
    if _is_transcript(row):
        raise UserError(
            "chosen and rejected are transcripts, and there is a prompt beside them",
            where=place,
            fix="`format: hh` reads the prompt from the transcripts.",
        )
    chosen = read_turn(column(row, place, "chosen"), place, "chosen", "assistant")
    if chosen[0]["role"] != "assistant":
        return _without_repeated_prompt(row, place)
    prompt = prompt_of(row, place, *_PROMPTS)
    return Preference(prompt, chosen, answer_of(row, place, "rejected"), tools_of(row, place), place)


def read_implicit(row: Row, place: str) -> Preference:
    """Two whole conversations; the prompt is what they begin with in common."""
    chosen = with_system(read_messages(column(row, place, "chosen"), place, "chosen"), row, place)
    rejected = with_system(read_messages(column(row, place, "rejected"), place, "rejected"), row, place)
    return _split(chosen, rejected, row, place)


def read_hh(row: Row, place: str) -> Preference:
    """Two transcripts (``\\n\\nHuman: … \\n\\nAssistant: …``), as in Anthropic's hh-rlhf."""
    chosen = _read_transcript(column(row, place, "chosen"), place, "chosen")
    rejected = _read_transcript(column(row, place, "rejected"), place, "rejected")
    return _split(chosen, rejected, row, place)


def read_openai(row: Row, place: str) -> Preference:
    """OpenAI's preference rows: ``input.messages``, ``preferred_output``, ``non_preferred_output``."""
    given = column(row, place, "input")
    if not isinstance(given, dict) or "messages" not in given:
        raise UserError("input must be an object with messages", where=place)
    prompt = check_prompt(read_messages(given["messages"], place, "input.messages"), place)
    chosen, rejected = (answer_of(row, place, name) for name in ("preferred_output", "non_preferred_output"))
    return Preference(prompt, chosen, rejected, read_tools(given.get("tools"), place), place)


def _without_repeated_prompt(row: Row, place: str) -> Preference:
    pair = read_implicit(row, place)
    prompt = prompt_of(row, place, *_PROMPTS)
    if prompt[-1]["content"] not in [message["content"] for message in pair.prompt]:
        raise UserError(
            "chosen and rejected begin with a prompt that is not the prompt column's",
            where=place,
            fix="Use `format: chosen_rejected` to read the prompt from chosen and rejected alone.",
        )
    return pair


def _split(chosen: list[Message], rejected: list[Message], row: Row, place: str) -> Preference:
    """The pair, with its prompt up to the first assistant turn from which the two conversations differ."""
    same = 0
    while same < min(len(chosen), len(rejected)) and chosen[same] == rejected[same]:
        same += 1
    while same and (same >= min(len(chosen), len(rejected)) or chosen[same]["role"] != "assistant"):
        same -= 1
    if chosen[same]["role"] != "assistant" or rejected[same]["role"] != "assistant":
        raise UserError("chosen and rejected share no prompt, or have no assistant turn after it", where=place)
    prompt = check_prompt(chosen[:same], place)
    return Preference(prompt, chosen[same:], rejected[same:], tools_of(row, place), place)


def _read_transcript(value: object, place: str, name: str) -> list[Message]:
    if not isinstance(value, str) or not _SPEAKER.match(value):
        raise UserError(f"{name} must be a transcript that begins with 'Human:'", where=place)
    parts = _SPEAKER.split(value)[1:]
    messages: list[Message] = []
    for speaker, said in zip(parts[::2], parts[1::2], strict=True):
        role = "user" if speaker == "Human" else "assistant"
        if messages and messages[-1]["role"] == role:  # one turn in two paragraphs
            messages[-1]["content"] += "\n\n" + said.strip()
        else:
            messages.append({"role": role, "content": said.strip()})
    return messages


def _is_transcript(row: Row) -> bool:
    pair = (row.get("chosen"), row.get("rejected"))
    return all(isinstance(text, str) and _SPEAKER.match(text) for text in pair)


FORMATS: dict[str, Format] = {
    "prompt_chosen_rejected": Format(
        "prompt/chosen/rejected",
        "prompt (or messages, or conversations), chosen, rejected",
        lambda row: has(row, "chosen", "rejected") and any(has(row, name) for name in _PROMPTS),
        read_explicit,
    ),
    "chosen_rejected": Format(
        "chosen/rejected conversations",
        "chosen, rejected, both whole conversations",
        lambda row: (
            has(row, "chosen", "rejected")
            and not any(has(row, name) for name in _PROMPTS)
            and not _is_transcript(row)
            and not isinstance(row["chosen"], dict)
        ),
        read_implicit,
    ),
    "hh": Format(
        "hh transcripts",
        "chosen, rejected, both Human/Assistant transcripts",
        lambda row: _is_transcript(row) and not any(has(row, name) for name in _PROMPTS),
        read_hh,
    ),
    "openai": Format(
        "OpenAI preference rows",
        "input, preferred_output, non_preferred_output",
        lambda row: has(row, "input", "preferred_output", "non_preferred_output"),
        read_openai,
    ),
}
