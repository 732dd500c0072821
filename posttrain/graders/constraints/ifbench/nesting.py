"""IFBench's `format:` constraints on brackets and quotation marks."""

from __future__ import annotations

import re

from posttrain.graders.constraints.constraint import Constraint
from posttrain.graders.constraints.ifbench.language import without_punctuation

BRACKET_LEVELS = 5
QUOTE_LEVELS = 3

_CLOSED_BY = {"(": ")", "[": "]", "{": "}"}
_ADJACENT_QUOTES = re.compile(r'"\s*"')
_EXPLAINS = re.compile(r"[^\s0-9]")


def parentheses(response: str) -> bool:
    """A bracket is closed by its like while at least five are open.

    A wrong closing bracket ends the whole nest; the outer four need never be closed.
    """
    opened: list[str] = []
    for character in response:
        if character in _CLOSED_BY:
            opened.append(character)
        elif opened and character in _CLOSED_BY.values():
            if _CLOSED_BY[opened[-1]] != character:
                opened.clear()
                continue
            if len(opened) >= BRACKET_LEVELS:
                return True
            opened.pop()
    return False


def quotes(response: str) -> bool:
    """Of the nested straight quotation marks, " and ' in turn, at least three levels are closed again.

    An apostrophe is one of the marks.
    """
    opened: list[str] = []
    deepest = 0
    for character in response:
        if character not in "\"'":
            continue
        if not opened or opened[-1] != character:
            opened.append(character)
            deepest = max(deepest, len(opened))
        else:
            opened.pop()
            if deepest - len(opened) >= QUOTE_LEVELS:
                return True
    return False


def quote_unquote(response: str) -> bool:
    """No two double quotation marks have only white space between them, and words follow the last one.

    Single and curly quotation marks do not count.
    """
    quote, rest = response.rpartition('"')[1:]
    explained = not quote or _EXPLAINS.search(without_punctuation(rest)) is not None
    return explained and not _ADJACENT_QUOTES.search(response)


CONSTRAINTS = {
    "format:parentheses": Constraint(parentheses),
    "format:quotes": Constraint(quotes),
    "format:quote_unquote": Constraint(quote_unquote),
}
