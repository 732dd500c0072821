"""IFBench's `count:` constraints: how many words, names, numbers, pronouns and marks there are."""

from __future__ import annotations

import re

from posttrain.graders.constraints.constraint import Constraint
from posttrain.graders.constraints.ifbench.arguments import some_text, whole
from posttrain.graders.constraints.ifbench.language import (
    PUNCTUATION,
    letter_runs,
    stripped_words,
    tokens,
    without_punctuation,
)
from posttrain.graders.grade import BadProblem

COORDINATING_CONJUNCTIONS = frozenset(["and", "but", "for", "nor", "or", "so", "yet"])

_PRONOUNS = """
i me my mine myself we us our ours ourselves you your yours yourself yourselves he him his himself she her hers herself
it its itself they them their theirs themselves this that these those who whom whose which what whoever whomever
whichever whatever all any anybody anyone anything both each either everybody everyone everything neither nobody none
nothing some somebody someone something
"""
PRONOUNS = frozenset(_PRONOUNS.split())

# The fifty names that the instruction lists.
_PERSON_NAMES = """
Emma Liam Sophia Jackson Olivia Noah Ava Lucas Isabella Mason Mia Ethan Charlotte Alexander Amelia Benjamin Harper Leo
Zoe Daniel Chloe Samuel Lily Matthew Grace Owen Abigail Gabriel Ella Jacob Scarlett Nathan Victoria Elijah Layla
Nicholas Audrey David Hannah Christopher Penelope Thomas Nora Andrew Aria Joseph Claire Ryan Stella Jonathan
"""

_NAME = re.compile(rf"\b(?:{'|'.join(_PERSON_NAMES.split())})\b")
_NUMBER = re.compile(r"\d+")
_JAPANESE = re.compile("[\u3040-\u30ff\u4e00-\u9fff]")
_INTERROBANGS = ("!?", "?!", "\u203d")


def word_count_range(response: str, min_words: object, max_words: object) -> bool:
    """The response has from `min_words` to `max_words` words, a word being a run of letters and digits."""
    least, most = whole(min_words, "min_words"), whole(max_words, "max_words")
    if least > most:
        raise BadProblem(f"min_words is {least} and max_words is {most}")
    return least <= len(letter_runs(response)) <= most


def unique_word_count(response: str, N: object) -> bool:
    """The response has at least `N` different words, case and the punctuation around them aside.

    A mark that stands alone, as a bullet does, is one more word to IFBench.
    """
    return len(set(stripped_words(response))) >= whole(N, "N")


def conjunctions(response: str, small_n: object) -> bool:
    """The response has at least `small_n` different coordinating conjunctions.

    "and", "And" and "and," are three to IFBench.
    """
    words = {word for word in response.split() if word.strip(PUNCTUATION).lower() in COORDINATING_CONJUNCTIONS}
    return len(words) >= whole(small_n, "small_n")


def person_names(response: str, N: object) -> bool:
    """The response has at least `N` different names of the fifty that the instruction lists."""
    return len(set(_NAME.findall(response))) >= whole(N, "N")


def numbers(response: str, N: object) -> bool:
    """The response has exactly `N` numbers in digits.

    Punctuation is left out first, so that 1,000 is one number; so is 2024-01-02.
    """
    return len(_NUMBER.findall(without_punctuation(response))) == whole(N, "N")


def pronouns(response: str, N: object) -> bool:
    """The response has at least `N` pronouns, every occurrence counted."""
    spaced = response.replace("/", " ").lower()
    return sum(token in PRONOUNS for token in tokens(spaced)) >= whole(N, "N")


def punctuation(response: str) -> bool:
    """The response has each of `.,!?;:` and, apart from those, an interrobang: `?!`, `!?` or ‽."""
    for interrobang in _INTERROBANGS:
        if interrobang in response:
            rest = response.replace(interrobang, "", 1)
            return all(mark in rest for mark in ".,!?;:")
    return False


def words_japanese(response: str, N: object) -> bool:
    """Every `N`th word of the response has a Japanese character; a number passes too."""
    step = whole(N, "N")
    if not step:
        raise BadProblem("N must be 1 or more")
    every = [word.strip(PUNCTUATION) for word in response.split()[step - 1 :: step]]
    return all(not word or word.isdigit() or _JAPANESE.search(word) for word in every)


def keywords_multiple(
    response: str, keyword1: object, keyword2: object, keyword3: object, keyword4: object, keyword5: object
) -> bool:
    """The response has the five keywords once, twice, three, five and seven times, in any case."""
    lowered = response.lower()
    wanted = ((keyword1, 1), (keyword2, 2), (keyword3, 3), (keyword4, 5), (keyword5, 7))
    counts = [
        (lowered.count(some_text(keyword, f"keyword{place}").lower()), times)
        for place, (keyword, times) in enumerate(wanted, 1)
    ]
    return all(count == times for count, times in counts)


CONSTRAINTS = {
    "count:word_count_range": Constraint(word_count_range, ("min_words", "max_words")),
    "count:unique_word_count": Constraint(unique_word_count, ("N",)),
    "count:conjunctions": Constraint(conjunctions, ("small_n",)),
    "count:person_names": Constraint(person_names, ("N",)),
    "count:numbers": Constraint(numbers, ("N",)),
    "count:pronouns": Constraint(pronouns, ("N",)),
    "count:punctuation": Constraint(punctuation),
    "count:words_japanese": Constraint(words_japanese, ("N",)),
    "count:keywords_multiple": Constraint(
        keywords_multiple, ("keyword1", "keyword2", "keyword3", "keyword4", "keyword5")
    ),
}
