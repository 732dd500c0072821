"""Texts that a person would want to look at before they are imitated."""

from __future__ import annotations

import re
from collections import Counter

# UTF-8 read as Windows-1252 or Latin-1: é becomes Ã©, a curly quote â€™.
_MOJIBAKE = re.compile("Ã[\u0080-\u00bf]|Â[\u0080-\u00bf]|â€[\u0080-\u00bf\u0153\u2122\u201c\u201d\u2018\u2019\u2026]")
_HTML = re.compile(r"</?(?:div|span|p|br|a|table|tr|td|ul|ol|li|script|html|body|font)(?:\s[^<>]*)?/?>", re.I)
_REFUSAL = re.compile(
    r"\bas an ai\b(?: language model| assistant|,)|\bi(?:['\u2019]m| am) (?:just )?an ai\b"
    r"|\bi(?:['\u2019]m| am) sorry,? but (?:i|as an ai)\b.{0,20}(?:can['\u2019]?t|cannot|unable|not able)"
    r"|\bi (?:cannot|can['\u2019]t|am unable to|am not able to) (?:assist|help|comply|fulfil)",
    re.I,
)
_FENCED = re.compile(r"```.*?(?:```|\Z)", re.S)

_LISTED = re.compile(r"\s*(?:[-*\u2022#>|]|\d+[.)]|[\w ]{1,30}:\s)")

CUT_WORDS = 40  # shorter answers often end without a full stop on purpose
CUT_LINE_WORDS = 8  # and so do short last lines: list items, names, signatures
REPEATED_WORDS = 5  # words of the phrase that comes again and again
REPEATED_TIMES = 5
REPEATED_SHARE = 0.4  # of the answer's words that the phrase makes up: loops, and not refrains


def suspicions(answer: str) -> list[str]:
    """What is odd about the answer, by name."""
    prose = _FENCED.sub("", answer)
    found = {
        "mojibake": bool(_MOJIBAKE.search(answer)),
        "replacement_character": "\ufffd" in answer,
        "html": bool(_HTML.search(prose)),
        "refusal": bool(_REFUSAL.search(prose)),
        "ends_mid_sentence": _ends_mid_sentence(answer),
        "repeats_itself": _repeats(answer),
    }
    return [name for name, odd in found.items() if odd]


def _ends_mid_sentence(answer: str) -> bool:
    said = answer.rstrip()
    if said.count("```") % 2 and not said.endswith("```"):
        return True
    words = said.split()
    if len(words) < CUT_WORDS or not words[-1].rstrip(",").replace("\u2019", "").replace("'", "").isalpha():
        return False
    last = said.splitlines()[-1]
    listed = _LISTED.match(last) or not words[-1][0].islower()  # list items and names need no full stop
    return not listed and len(last.split()) >= CUT_LINE_WORDS


def _repeats(answer: str) -> bool:
    words = answer.split()
    if len(words) < REPEATED_WORDS * REPEATED_TIMES:
        return False
    phrases = Counter(zip(*(words[start:] for start in range(REPEATED_WORDS)), strict=False))
    times = max(phrases.values())
    return times >= REPEATED_TIMES and times * REPEATED_WORDS >= REPEATED_SHARE * len(words)
