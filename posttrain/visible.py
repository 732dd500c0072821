"""Text made safe and plain to look at: what a terminal would obey, and what no one would see, is written out."""

from __future__ import annotations

import re

# Control characters but the line break; invisible ones that join nothing; those that turn the direction of writing;
# halves of surrogate pairs, which cannot be printed; tags, which spell text that is not shown.
_HIDDEN = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e0fff]"
)


def visible(text: str) -> str:
    """`text` with its line breaks as they are, and other characters that would not show written out."""
    return _HIDDEN.sub(_name, text)


def on_one_line(text: str) -> str:
    """`text` made visible, its line breaks too: for a cell of a table, or a name."""
    return visible(text).replace("\n", "↵")


def _name(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20:
        return chr(0x2400 + code)  # the pictures of control characters: ␛ for escape
    return f"<U+{code:04X}>"
