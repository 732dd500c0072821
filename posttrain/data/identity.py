"""When two records are the same: keys by content and by prompt, and the digest of a whole set."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from posttrain.data.records import Chat, Message, Record


def content_key(record: Record) -> bytes:
    """A digest of all that the record says; its place does not count."""
    said = {item.name: getattr(record, item.name) for item in fields(record) if item.name != "place"}
    return _digest(said)


def prompt_key(record: Record) -> bytes:
    """A digest of the record's prompt: of a chat, what comes before its first assistant turn."""
    return _digest(prompt_turns(record))


def asked_keys(record: Record) -> list[bytes]:
    """What the record asks: a digest of its turns up to each user turn. The system prompt does not count."""
    total, keys = hashlib.sha256(b"["), []
    for index, turn in enumerate(_turns(record)):
        total.update((", " if index else "").encode() + _json(turn))
        if turn["role"] in ("user", "tool"):
            upto = total.copy()
            upto.update(b"]")
            keys.append(upto.digest())
    return keys


def keys_of(record: Record) -> tuple[bytes, bytes, list[bytes]]:
    """The record's `content_key`, `prompt_key` and `asked_keys`."""
    return content_key(record), prompt_key(record), asked_keys(record)


def digest_of(parts: Mapping[str, Any]) -> str:
    """SHA-256 in hexadecimal over the content keys of the parts (arrays of them), in order."""
    total = hashlib.sha256()
    for part, keys in parts.items():
        total.update(f"{part} {len(keys)}\n".encode())
        total.update(keys.tobytes())
    return total.hexdigest()


def prompt_turns(record: Record) -> list[Message]:
    """The turns before the answer, without the system prompt: it is asked the same under another one."""
    turns = _turns(record)
    if not isinstance(record, Chat):
        return turns
    return turns[: [turn["role"] for turn in turns].index("assistant")]


def _turns(record: Record) -> list[Message]:
    turns = record.messages if isinstance(record, Chat) else record.prompt
    return [turn for turn in turns if turn["role"] != "system"]


def _digest(value: Any) -> bytes:
    return hashlib.sha256(_json(value)).digest()


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str).encode("utf-8", "surrogatepass")
