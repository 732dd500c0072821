"""When two records are the same: keys by content and by prompt, and the digest of a whole set."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, get_args

from posttrain.data.records import Chat, Message, Record


def content_key(record: Record) -> bytes:
    """A digest of all that the record says; its place does not count."""
    return _content(record, _said(record))


def prompt_key(record: Record) -> bytes:
    """A digest of the record's prompt: of a chat, what comes before its first assistant turn."""
    return _prompt(record, _said(record))


def asked_keys(record: Record) -> list[bytes]:
    """What the record asks: a digest of its turns up to each user turn. The system prompt does not count."""
    return _asked(record, _said(record))


def keys_of(record: Record) -> tuple[bytes, bytes, list[bytes]]:
    """The record's `content_key`, `prompt_key` and `asked_keys`."""
    said = _said(record)
    return _content(record, said), _prompt(record, said), _asked(record, said)


def digest_of(parts: Mapping[str, Any]) -> str:
    """SHA-256 in hexadecimal over the content keys of the parts (arrays of them), in order."""
    total = hashlib.sha256()
    for part, keys in parts.items():
        total.update(f"{part} {len(keys)}\n".encode())
        total.update(keys.tobytes())
    return total.hexdigest()


def prompt_turns(record: Record) -> list[Message]:
    """The turns before the answer, without the system prompt: it is asked the same under another one."""
    turns = [turn for turn in _turns(record) if turn["role"] != "system"]
    return turns[: [turn["role"] for turn in turns].index("assistant")] if isinstance(record, Chat) else turns


def _turns(record: Record) -> list[Message]:
    return record.messages if isinstance(record, Chat) else record.prompt


def _said(record: Record) -> list[bytes]:
    """The JSON of each of the record's `_turns`: all three kinds of keys are made of it."""
    return [_json(turn) for turn in _turns(record)]


def _content(record: Record, said: list[bytes]) -> bytes:
    """The digest of the record as a JSON object, of which `said` is one value."""
    turns = "messages" if isinstance(record, Chat) else "prompt"
    values = (_listed(said) if name == turns else _json(getattr(record, name)) for name in _NAMES[type(record)])
    parts = (b'"%s": %s' % (name.encode(), value) for name, value in zip(_NAMES[type(record)], values, strict=True))
    return hashlib.sha256(b"{%s}" % b", ".join(parts)).digest()


def _prompt(record: Record, said: list[bytes]) -> bytes:
    roles = [turn["role"] for turn in _turns(record)]
    end = roles.index("assistant") if isinstance(record, Chat) else len(roles)
    kept = [turn for turn, role in zip(said[:end], roles, strict=False) if role != "system"]
    return hashlib.sha256(_listed(kept)).digest()


def _asked(record: Record, said: list[bytes]) -> list[bytes]:
    total, keys, before = hashlib.sha256(b"["), [], b""
    for turn, text in zip(_turns(record), said, strict=True):
        if turn["role"] == "system":
            continue
        total.update(before + text)
        before = b", "
        if turn["role"] in ("user", "tool"):
            upto = total.copy()
            upto.update(b"]")
            keys.append(upto.digest())
    return keys


def _listed(said: list[bytes]) -> bytes:
    return b"[%s]" % b", ".join(said)


def _json(value: Any) -> bytes:
    return _encoder.encode(value).encode("utf-8", "surrogatepass")


_NAMES: dict[type[Any], list[str]] = {
    kind: sorted(item.name for item in fields(kind) if item.name != "place") for kind in get_args(Record)
}
_encoder = json.JSONEncoder(sort_keys=True, ensure_ascii=False, default=str)
