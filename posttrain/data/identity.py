"""When two records are the same: keys by content and by prompt, and the digest of a whole set."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from posttrain.data.records import Chat, Message, Record


def content_key(record: Record) -> bytes:
    """A digest of all that the record says; its place does not count."""
    said = {item.name: getattr(record, item.name) for item in fields(record) if item.name != "place"}
    return _digest(said)


def prompt_key(record: Record) -> bytes:
    """A digest of the record's prompt: of a chat, what comes before its first assistant turn."""
    return _digest(_prompt(record))


def digest_of(parts: Mapping[str, Sequence[Record]]) -> str:
    """SHA-256 in hexadecimal over the records of the parts, in order."""
    total = hashlib.sha256()
    for part, records in parts.items():
        total.update(f"{part} {len(records)}\n".encode())
        for record in records:
            total.update(content_key(record))
    return total.hexdigest()


def asked_keys(record: Record) -> set[bytes]:
    """What the record asks: a digest of its turns up to each user turn. The system prompt does not count."""
    turns = record.messages if isinstance(record, Chat) else record.prompt
    turns = [turn for turn in turns if turn["role"] != "system"]
    return {_digest(turns[: i + 1]) for i, turn in enumerate(turns) if turn["role"] in ("user", "tool")}


def _prompt(record: Record) -> list[Message]:
    """The turns before the answer, without the system prompt: it is asked the same under another one."""
    turns = record.messages if isinstance(record, Chat) else record.prompt
    turns = [turn for turn in turns if turn["role"] != "system"]
    if not isinstance(record, Chat):
        return turns
    return turns[: [turn["role"] for turn in turns].index("assistant")]


def _digest(value: Any) -> bytes:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).digest()
