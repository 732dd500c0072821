"""The languages of a sample of rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from importlib.util import find_spec

SAMPLE = 2_000  # rows whose language is guessed: a share is then right within 2.2 points, in 95 of 100 samples
CHARACTERS = 300  # of a text: more adds time and no certainty
SHORT = 20  # letters, below which a guess is one in name only
LONG = 80  # letters, from which the detector needs no further text
SURE = 0.8  # the detector's own probability, below which nothing is said
INSTALL = "pip install 'posttrain[instructions]'"
UNSURE = "unsure"


def text_to_guess(asked: str, answer: str) -> str:
    """The answer where it is long enough to tell its language, else what was asked, then the answer."""
    return answer if _letters(answer[:CHARACTERS]) >= LONG else f"{asked[-CHARACTERS // 2 :]}\n{answer}"


def count_languages(texts: Iterable[str]) -> dict[str, int] | None:
    """How many of `texts` are in each language (ISO 639-1 codes), most first; None where langdetect is missing."""
    if find_spec("langdetect") is None:
        return None
    found = Counter(_language(text[:CHARACTERS]) for text in texts)
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def _language(text: str) -> str:
    from posttrain.graders.constraints.language import probabilities

    likely = probabilities(text) if _letters(text) >= SHORT else []
    return likely[0][0] if likely and likely[0][1] >= SURE else UNSURE


def _letters(text: str) -> int:
    return sum(each.isalpha() for each in text)
