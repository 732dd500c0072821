"""What is printed, as plain text: nothing in it is obeyed by a terminal, and no key is in it.

Messages quote file names, rows and what servers said, so it is the stream that cleans them, once for all. rich, which
draws bars and colours, is given the stream below; what it prints of others' text is made visible where it is printed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TextIO

from posttrain.masking import masked, masked_values
from posttrain.visible import visible


class PlainStream:
    """A stream of text in which control characters are written out and secrets masked; otherwise the one below."""

    def __init__(self, below: TextIO, clean: Callable[[str], str]) -> None:
        self._below = below
        self._clean = clean

    @property
    def rich_proxied_file(self) -> TextIO:
        """The stream below all of its kind, by the name under which rich asks for it."""
        return bare(self._below)

    def write(self, text: str) -> int:
        self._below.write(self._clean(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._below, name)


def bare(stream: Any) -> Any:
    """Return the stream below ours, and below rich's own."""
    while (below := getattr(stream, "rich_proxied_file", None)) is not None:
        stream = below
    return stream


def message(text: str) -> str:
    """`text` as it may be shown or kept for reading: visible, without keys."""
    return visible(masked(text))


def plain_message_stream(below: TextIO) -> Any:
    """Return a stream for messages on top of `below`."""
    return below if isinstance(below, PlainStream) else PlainStream(below, message)


def plain_result_stream(below: TextIO) -> Any:
    """Return a stream for results: rows in them stay as they are, but for what a terminal would obey."""
    return below if isinstance(below, PlainStream) else PlainStream(below, lambda text: visible(masked_values(text)))


def print_plainly() -> None:
    """From now on what is printed is plain text. To be said again after rich has begun a bar, which puts streams of
    its own on top, and takes them away at the bar's end."""
    sys.stdout, sys.stderr = plain_result_stream(sys.stdout), plain_message_stream(sys.stderr)
