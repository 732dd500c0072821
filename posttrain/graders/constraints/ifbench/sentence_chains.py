"""IFBench's `sentence:` constraints, and those of `words:` that follow words from sentence to sentence."""

from __future__ import annotations

import re
from itertools import groupby, pairwise

from posttrain.graders.constraints.constraint import Constraint
from posttrain.graders.constraints.ifbench.arguments import some_text, whole
from posttrain.graders.constraints.ifbench.language import PUNCTUATION, bare_words, sentences, word_tokens
from posttrain.graders.grade import BadProblem

_EDGES = PUNCTUATION + " "


def alliteration_increment(response: str) -> bool:
    """Each sentence has more alliterating words, those beside a word with the same first letter, than the last.

    All runs of a sentence are counted together: "big bears and cool cats" has four such words.
    """
    counts = [_alliterating(bare_words(sentence)) for sentence in sentences(response)]
    return all(before < after for before, after in pairwise(counts))


def increment(response: str, small_n: object) -> bool:
    """Each sentence has exactly `small_n` more words than the one before it."""
    step = whole(small_n, "small_n")
    counts = [len(bare_words(sentence)) for sentence in sentences(response)]
    return bool(counts) and all(after == before + step for before, after in pairwise(counts))


def keyword(response: str, word: object, N: object) -> bool:
    """The `N`th sentence has `word`, as a whole word in any case."""
    sentence = _nth_sentence(response, N, "N")
    pattern = rf"\b{re.escape(some_text(word, 'word'))}\b"
    return sentence is not None and re.search(pattern, sentence, re.IGNORECASE) is not None


def keywords_specific_position(response: str, keyword: object, n: object, m: object) -> bool:
    """The `m`th word of the `n`th sentence is `keyword`, in any case."""
    wanted, place = some_text(keyword, "keyword").lower(), whole(m, "m")
    if not place:
        raise BadProblem("m must be 1 or more")
    sentence = _nth_sentence(response, n, "n")
    words = word_tokens(sentence) if sentence is not None else []
    return len(words) >= place and words[place - 1].lower() == wanted


def last_first(response: str) -> bool:
    """Each sentence begins with the last word of the one before it, in any case."""
    for before, after in pairwise(sentences(response)):
        ending, beginning = before.rstrip(_EDGES).split(), after.lstrip(_EDGES).split()
        if not ending or not beginning or ending[-1].lower() != beginning[0].lower():
            return False
    return True


def paragraph_last_first(response: str) -> bool:
    """Each line begins and ends with the same word, in any case; lines without words are left out."""
    lines = (line.strip(_EDGES).lower().split() for line in response.split("\n"))
    return all(words[0] == words[-1] for words in lines if words)


def _nth_sentence(response: str, place: object, name: str) -> str | None:
    number = whole(place, name)
    if not number:
        raise BadProblem(f"{name} must be 1 or more")
    found = sentences(response)
    return found[number - 1] if number <= len(found) else None


def _alliterating(words: list[str]) -> int:
    runs = (len(list(run)) for _, run in groupby(words, key=lambda word: word[0]))
    return sum(run for run in runs if run > 1)


CONSTRAINTS = {
    "sentence:alliteration_increment": Constraint(alliteration_increment),
    "sentence:increment": Constraint(increment, ("small_n",)),
    "sentence:keyword": Constraint(keyword, ("word", "N")),
    "words:keywords_specific_position": Constraint(keywords_specific_position, ("keyword", "n", "m")),
    "words:last_first": Constraint(last_first),
    "words:paragraph_last_first": Constraint(paragraph_last_first),
}
