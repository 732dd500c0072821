"""What goes through the descriptors: whole texts, and JSON messages one after the other."""

from __future__ import annotations

import json
import os
from typing import Any

MAX_MESSAGE = 8 << 20
"""Bytes of one message; a program whose answer is longer has no answer."""


ENDED = "the program ended"


class Ended(BaseException):
    """The other end is gone, or sent what is no message. No `except Exception` of a test can take it."""


def read_all(descriptor: int) -> str:
    """Return the text of a file from its beginning."""
    with open(descriptor, "rb", closefd=False) as file:
        file.seek(0)
        return file.read().decode("utf-8", "surrogatepass")


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of the data."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


class Channel:
    """Messages to and from another process, over two pipes: four bytes of length, then JSON."""

    def __init__(self, reader: int, writer: int) -> None:
        self._reader = reader
        self._writer = writer

    def send(self, message: dict[str, Any]) -> None:
        """Send a message; raises ValueError if it is too long, and Ended if nobody reads."""
        data = json.dumps(message, separators=(",", ":")).encode()
        if len(data) > MAX_MESSAGE:
            raise ValueError(f"{len(data):,} bytes are too many")
        try:
            write_all(self._writer, len(data).to_bytes(4, "big") + data)
        except BrokenPipeError:
            raise Ended(ENDED) from None

    def receive(self) -> dict[str, Any]:
        """Return the next message; raises Ended."""
        length = int.from_bytes(self._read(4), "big")
        if length > MAX_MESSAGE:
            raise Ended("the program sent no message")
        try:
            message = json.loads(self._read(length))
        except (ValueError, RecursionError, MemoryError):
            raise Ended("the program sent no message") from None
        if not isinstance(message, dict):
            raise Ended("the program sent no message")
        return message

    def _read(self, length: int) -> bytes:
        parts = []
        while length:
            part = os.read(self._reader, min(length, 1 << 20))
            if not part:
                raise Ended(ENDED)
            parts.append(part)
            length -= len(part)
        return b"".join(parts)
