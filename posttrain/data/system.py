"""The system prompt that a recipe gives its rows (``data.system``)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from posttrain.data.records import Chat, Message, Record

if TYPE_CHECKING:
    from posttrain.recipe.schema import SystemPrompt


def with_system(record: Record, system: str | SystemPrompt | None) -> Record:
    """`record`, opened by the system prompt: where it has none, or in place of its own if `system` replaces.

    An empty text that replaces takes the row's own away.
    """
    if system is None:
        return record
    text, replaces = (system, False) if isinstance(system, str) else (system.text, system.replace)
    name = "messages" if isinstance(record, Chat) else "prompt"
    messages: list[Message] = getattr(record, name)
    own = bool(messages) and messages[0]["role"] == "system"
    if own and not replaces:
        return record
    opened = [{"role": "system", "content": text}] if text else []
    changed: dict[str, Any] = {name: opened + messages[own:]}
    return replace(record, **changed)
