"""The four canonical records. Every input format becomes one of them; every stage reads one of them.

A message is a dict in the chat-completions shape: ``role``, ``content`` and, where there are any,
``tool_calls``, ``tool_call_id``, ``name``; ``weight: 0`` keeps an assistant turn out of the loss.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Chat:
    """A conversation to imitate (sft). The assistant turns are trained."""

    messages: list[Message]
    tools: list[dict[str, Any]] | None = None
    place: str = ""


@dataclass(frozen=True, slots=True)
class Preference:
    """Two answers to one prompt, one preferred (dpo). `chosen` and `rejected` are the turns after the prompt."""

    prompt: list[Message]
    chosen: list[Message]
    rejected: list[Message]
    tools: list[dict[str, Any]] | None = None
    place: str = ""


@dataclass(frozen=True, slots=True)
class Feedback:
    """One answer with a thumb (kto): `label` is True for up."""

    prompt: list[Message]
    completion: list[Message]
    label: bool
    tools: list[dict[str, Any]] | None = None
    place: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """A prompt whose answers a grader can check (rlvr, eval). `fields` are the row's own columns, after renaming."""

    prompt: list[Message]
    fields: dict[str, Any] = field(default_factory=dict)
    tools: list[dict[str, Any]] | None = None
    place: str = ""

    @property
    def item(self) -> dict[str, Any]:
        """What a grader gets: `fields`, and the prompt as `messages`, which OpenAI's graders may read."""
        return {"messages": self.prompt, **self.fields}


Record = Chat | Preference | Feedback | Problem

RECORD_OF_STAGE: dict[str, type[Record]] = {
    "sft": Chat,
    "dpo": Preference,
    "kto": Feedback,
    "rlvr": Problem,
    "eval": Problem,
}
