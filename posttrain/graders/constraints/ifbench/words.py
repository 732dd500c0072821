"""IFBench's `words:` constraints: how words are spelled, and which stands beside which."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise
from string import ascii_lowercase

from posttrain.graders.constraints.constraint import Constraint
from posttrain.graders.constraints.ifbench.arguments import some_text, whole
from posttrain.graders.constraints.ifbench.language import (
    PUNCTUATION,
    bare_words,
    module,
    part_of_speech,
    tokens,
)

PALINDROMES = 10
PALINDROME_LETTERS = 5
VOWELS = 3
BEGINNING_CHARACTERS = 2000
"""Far more than the first words need."""

_CONSONANT_CLUSTER = re.compile("[b-df-hj-np-tv-z]{2}", re.IGNORECASE)


def alphabet(response: str) -> bool:
    """Each word begins with the letter after the one that the word before it begins with, and a follows z."""
    letters = [word[0] for word in bare_words(response)]
    if not letters or not set(letters) <= set(ascii_lowercase):
        return False
    places = [ascii_lowercase.index(letter) for letter in letters]
    return all(after == (before + 1) % 26 for before, after in pairwise(places))


def vowel(response: str) -> bool:
    """The response is one paragraph with no more than three of the vowels a, e, i, o and u."""
    paragraph = response.strip()
    return "\n" not in paragraph and len(set("aeiou").intersection(paragraph.lower())) <= VOWELS


def consonants(response: str) -> bool:
    """Every word, whatever stands between white space, has two consonants together; y is a consonant."""
    return all(_CONSONANT_CLUSTER.search(word) for word in response.split())


def palindrome(response: str) -> bool:
    """The response has ten palindromes of at least five letters or digits; repetitions count."""
    found = [word for word in bare_words(response) if len(word) >= PALINDROME_LETTERS and word == word[::-1]]
    return len(found) >= PALINDROMES


def prime_lengths(response: str) -> bool:
    """The length of every word, punctuation aside, is a prime number."""
    return all(_is_prime(length) for length in {len(word) for word in bare_words(response)})


def repeats(response: str, small_n: object) -> bool:
    """No word occurs more than `small_n` times, case and punctuation aside."""
    return max(Counter(bare_words(response)).values(), default=0) <= whole(small_n, "small_n")


def no_consecutive(response: str) -> bool:
    """No two words in a row begin with the same letter, digit or sign, in any case."""
    return all(before[0] != after[0] for before, after in pairwise(bare_words(response)))


def odd_even_syllables(response: str) -> bool:
    """Words with odd and even numbers of syllables, by syllapy, alternate; a word with a digit has none."""
    count = module("syllapy").count
    return all((count(before) - count(after)) % 2 for before, after in pairwise(bare_words(response)))


def start_verb(response: str) -> bool:
    """The first word is a verb, and no modal, to NLTK's tagger.

    A mark such as `#` or `**` before it is a first word, and no verb.
    """
    # An empty response is no verb either, but a tagger that is missing must show on it too.
    return part_of_speech(tokens(response.lstrip()[:BEGINNING_CHARACTERS]) or ["the"]).startswith("VB")


def words_position(response: str, keyword: object) -> bool:
    """The second word and the last but one are `keyword`, in any case.

    Punctuation marks count as words, but for one at the very end.
    """
    wanted = some_text(keyword, "keyword").lower()
    words = [token.lower() for token in tokens(response)]
    if words and words[-1] in set(PUNCTUATION):
        words.pop()
    return len(words) > 1 and words[1] == words[-2] == wanted


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))


CONSTRAINTS = {
    "words:alphabet": Constraint(alphabet),
    "words:vowel": Constraint(vowel),
    "words:consonants": Constraint(consonants),
    "words:palindrome": Constraint(palindrome),
    "words:prime_lengths": Constraint(prime_lengths),
    "words:repeats": Constraint(repeats, ("small_n",)),
    "words:no_consecutive": Constraint(no_consecutive),
    "words:odd_even_syllables": Constraint(odd_even_syllables),
    "words:start_verb": Constraint(start_verb),
    "words:words_position": Constraint(words_position, ("keyword",)),
}
