"""How short answers are compared in question answering: SQuAD's normal form, equality and token F1.

Rajpurkar et al. 2016 (arXiv 1606.05250), section 6.1; lower case, ASCII punctuation, English articles and extra
white space do not count.
"""

from __future__ import annotations

import re
import string
from collections import Counter

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLE = re.compile(r"\b(?:a|an|the)\b")


def normalized(text: str) -> str:
    """Return the text in its normal form: "The  Eiffel Tower!" is "eiffel tower"."""
    return " ".join(_ARTICLE.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def token_f1(answer: str, gold: str) -> float:
    """Return the harmonic mean of precision and recall over the words of both, counted as often as they occur."""
    words, expected = normalized(answer).split(), normalized(gold).split()
    common = (Counter(words) & Counter(expected)).total() if words and expected else 0
    return 2 * common / (len(words) + len(expected)) if common else 0.0
