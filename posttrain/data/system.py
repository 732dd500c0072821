"""The recipe's system prompt."""

from __future__ import annotations

from dataclasses import replace

from posttrain.data.records import Chat, Record


def with_system(record: Record, system: str | None) -> Record:
    """`record`, opened by the system prompt if it has none of its own."""
    turns = record.messages if isinstance(record, Chat) else record.prompt
    if system is None or turns[0]["role"] == "system":
        return record
    changed: dict = {
        "messages" if isinstance(record, Chat) else "prompt": [{"role": "system", "content": system}, *turns]
    }
    return replace(record, **changed)
