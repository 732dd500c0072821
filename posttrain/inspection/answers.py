"""Of what kind a gold answer is, which says what grader suits it, and whether the prompt gives it away."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from posttrain.data.formats.problem import ANSWERS

SHORT_WORDS = 10
LEAK_CHARACTERS = 4  # shorter answers stand in many prompts by chance

_NUMBER = re.compile(r"[-+]?[$€£]?\s*(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?:e[-+]?\d+)?\s*%?", re.I)
_CHOICE = re.compile(r"\(?[A-J]\)?\.?")
_EXPRESSION = re.compile(r"\\[a-zA-Z]+|\$.+\$|^[-+\w\s().,]*[\^=*/][-+\w\s()^=*/.,]*$")
_CODE = re.compile(r"```|^\s*(?:def|class|import|from|return|for|if|#include|function|SELECT)\b.*[:({;]?$", re.M)


def gold(fields: Mapping[str, Any]) -> str | None:
    """The row's gold answer as text, of a solution that ends in ``#### answer`` the end; None where there is none."""
    value = next((fields[name] for name in ANSWERS if fields.get(name) is not None), None)
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text.rpartition("####")[2].strip()


def kind_of(answer: str) -> str:
    """The kind of a gold answer, in words."""
    text = answer.strip()
    if not text:
        return "empty"
    if _NUMBER.fullmatch(text) and any(each.isdigit() for each in text):
        return "number"
    if _CHOICE.fullmatch(text):
        return "choice letter"
    if text.lower().rstrip(".") in ("yes", "no", "true", "false"):
        return "yes/no"
    if text[0] in "[{" and _is_json(text):
        return "JSON"
    if _CODE.search(text):
        return "code"
    if _EXPRESSION.search(text) and len(text.split()) <= SHORT_WORDS * 2:
        return "expression"
    return "short text" if len(text.split()) <= SHORT_WORDS else "long text"


def stands_in(answer: str, prompt: str) -> bool:
    """Whether the prompt says the whole answer, as words. Numbers and letters do so by chance, and never count."""
    if len(answer) < LEAK_CHARACTERS or kind_of(answer) in ("number", "choice letter", "yes/no", "empty"):
        return False
    return re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", prompt) is not None


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
