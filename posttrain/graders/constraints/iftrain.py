"""The 29 training constraints of IF-RLVR (Pyatkin et al., 2025, arXiv 2507.02833), as AI2's checker decides them.

AI2's data for training mixes them with IFEval's 25. A token is one of NLTK's word_tokenize, so that a punctuation mark
is one; sentences are split by simple rules, not by Punkt. The one exception is a span that begins at 0, for which the
checker draws a random beginning: here 0 is 0.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from posttrain.graders.constraints.arguments import holds, number, pattern, position, text
from posttrain.graders.constraints.constraint import Constraint
from posttrain.graders.constraints.ifeval import filled, keyword_frequency, letter_frequency
from posttrain.graders.constraints.sentence_rules import split
from posttrain.graders.constraints.tokens import words
from posttrain.graders.grade import BadProblem

_LOWERCASE_WORD = re.compile(r"\b[a-z]+\b")
_LETTER = re.compile(r"[A-Za-z]")
_PUNCTUATION = re.compile(r"[^\w\s]")


# Copying


def copy(response: str, *, prompt_to_repeat: Any) -> bool:
    """The response is the request and nothing else, ignoring case."""
    return _same(response, text("prompt_to_repeat", prompt_to_repeat))


def copying_multiple(response: str, *, prompt_to_repeat: Any, N: Any) -> bool:
    """The response is the request exactly N times with dividers ``******`` between, ignoring case."""
    copies = response.split("******")
    prompt = text("prompt_to_repeat", prompt_to_repeat)
    return len(copies) == position("N", N) and all(_same(one, prompt) for one in copies)


def copy_span_idx(response: str, *, prompt_to_repeat: Any, n_start: Any, n_end: Any) -> bool:
    """The response is the request's characters from `n_start`, counted from 0, up to `n_end`, ignoring case.

    The character at `n_end` is not one of them, although the instruction says so.
    """
    span = text("prompt_to_repeat", prompt_to_repeat)[number("n_start", n_start) : number("n_end", n_end)]
    if not span.strip():
        raise BadProblem(f"the request has nothing to copy from {n_start} to {n_end}")
    return _same(response, span)


def repeat_phrase(response: str, *, phrase: Any, small_n: Any) -> bool:
    """There are exactly `small_n` spans from the phrase's first word to its last, each on one line, and each is the
    phrase with exactly one word between the two replaced. Case counts."""
    wanted = text("phrase", phrase).split()
    found = [span.split() for line in response.split("\n") for span in _spans(line, wanted[0], wanted[-1])]
    return len(found) == number("small_n", small_n) and all(
        len(span) == len(wanted) and sum(a != b for a, b in zip(span, wanted, strict=True)) == 1 for span in found
    )


# Keywords and letters


def word_once(response: str, *, keyword: Any) -> bool:
    """The keyword is found exactly once: "rain" in "training" too."""
    return len(pattern("keyword", keyword).findall(response)) == 1


def count_increment_word(response: str, *, keyword1: Any, keyword2: Any) -> bool:
    """The first keyword is found exactly once and the second exactly twice: "rain" in "training" too."""
    once, twice = pattern("keyword1", keyword1), pattern("keyword2", keyword2)
    return len(once.findall(response)) == 1 and len(twice.findall(response)) == 2


def word_count_different_numbers(response: str, *, keyword: Any, frequency: Any, relation: Any) -> bool:
    """The keyword is found so many times, by the relation, although the instruction only names the number."""
    return keyword_frequency(response, keyword=keyword, frequency=frequency, relation=relation)


def exclude_word_harder(response: str, *, keyword: Any) -> bool:
    """The keyword is not found between two spaces; it may be the first word or the last, or before a comma."""
    return f" {text('keyword', keyword)} " not in response


def keyword_specific_position(response: str, *, keyword: Any, n: Any, m: Any) -> bool:
    """The m-th token of the n-th sentence is the keyword. Case counts."""
    wanted, nth, mth = text("keyword", keyword), position("n", n), position("m", m)
    found = split(response)
    tokens = words(found[nth - 1]) if nth <= len(found) else []
    return mth <= len(tokens) and tokens[mth - 1] == wanted


def palindrome(response: str) -> bool:
    """Something between two spaces reads the same backwards, as the word "a" does. Case counts."""
    return any(word == word[::-1] for word in response.split())


def start_end(response: str) -> bool:
    """The first and the last of at least two tokens are equal, ignoring case."""
    tokens = words(response)
    return len(tokens) > 1 and tokens[0].lower() == tokens[-1].lower()


def no_adjacent_consecutive(response: str) -> bool:
    """No word begins with the letter after that of the word before it, as in "a bee"; "bees are" may stand."""
    firsts = [ord(word[0].lower()[0]) for word in response.split()]
    return all(second - first != 1 for first, second in pairwise(firsts))


def letter_counting(response: str, *, N: Any, relation: Any) -> bool:
    """There are so many letters, a to z."""
    return holds(len(_LETTER.findall(response)), relation, number("N", N))


# First and last words


def first_word_sent(response: str, *, first_word: Any) -> bool:
    """Every sentence begins with the word and a space, ignoring case."""
    wanted = text("first_word", first_word)
    return all(_same(sentence.split()[0], wanted) for sentence in split(response))


def first_word_answer(response: str, *, first_word: Any) -> bool:
    """The response begins with the word and a space, ignoring case."""
    return _same((response.split() or [""])[0], text("first_word", first_word))


def last_word_sent(response: str, *, last_word: Any) -> bool:
    """Every sentence ends with the word, ignoring case and the punctuation around and in it."""
    wanted = text("last_word", last_word)
    return all(_same(_last_word(sentence), wanted) for sentence in split(response))


def last_word_answer(response: str, *, last_word: Any) -> bool:
    """The response ends with the word, ignoring case and the punctuation around and in it."""
    return _same(_last_word(response), text("last_word", last_word))


# Format and punctuation


def paragraphs(response: str) -> bool:
    """There are exactly two paragraphs between dividers ``***``, with no blank one between them."""
    return filled(response.split("***")) == 2


def paragraphs2(response: str) -> bool:
    """There are exactly two paragraphs between blank lines, with no blank one between them."""
    return filled(response.split("\n\n")) == 2


def sentence_hyphens(response: str) -> bool:
    """The sentences are joined by hyphens without spaces. A hyphen in a word breaks it."""
    parts = response.split("-")
    return all(
        part == part.strip() == sentence
        for part, sentence in zip(parts, split(response.replace("-", " ")), strict=False)
    )


def square_brackets(response: str) -> bool:
    """Whatever stands between two spaces begins with ``[`` and ends with ``]``."""
    return all(word.startswith("[") and word.endswith("]") for word in response.split())


def bigram_wrapping(response: str) -> bool:
    """Of each two words the first begins with ``<<`` and the second ends with ``>>``; an odd last one is free."""
    tokens = response.split()
    return all(
        first.startswith("<<") and second.endswith(">>")
        for first, second in zip(tokens[::2], tokens[1::2], strict=False)
    )


def punctuation_dot(response: str) -> bool:
    """There is no full stop, not even in a number."""
    return "." not in response


def punctuation_exclamation(response: str) -> bool:
    """There is no exclamation mark."""
    return "!" not in response


# Counting


def lowercase_counting(response: str, *, N: Any) -> bool:
    """At most N words consist of the small letters a to z; "don't" is two."""
    return len(_LOWERCASE_WORD.findall(response)) <= number("N", N)


def counting_composition(response: str, *, n_sent: Any, n_words: Any) -> bool:
    """There are three paragraphs between dividers ``***``, each of exactly `n_sent` sentences of exactly `n_words`
    tokens."""
    per_paragraph, per_sentence = number("n_sent", n_sent), number("n_words", n_words)
    per = [split(paragraph) for paragraph in response.split("***")]
    return len(per) == 3 and all(
        len(found) == per_paragraph and all(len(words(sentence)) == per_sentence for sentence in found) for found in per
    )


def count_unique(response: str) -> bool:
    """No token occurs twice: there may be one comma. Case counts."""
    tokens = words(response)
    return len(tokens) == len(set(tokens))


def _spans(line: str, first: str, last: str) -> Iterator[str]:
    """Yield each stretch of the line from `first` and a space to the next space and `last`, none within another."""
    start, end = line.find(f"{first} "), 0
    while start >= 0 and (end := line.find(f" {last}", start + len(first) + 1)) >= 0:
        end += 1 + len(last)
        yield line[start:end]
        start = line.find(f"{first} ", end)


def _same(one: str, other: str) -> bool:
    return one.strip().lower() == other.strip().lower()


def _last_word(response: str) -> str:
    return _PUNCTUATION.sub("", (response.split() or [""])[-1])


CONSTRAINTS: dict[str, Constraint] = {
    "copy:copy": Constraint(copy, ("prompt_to_repeat",)),
    "copy:copying_simple": Constraint(copy, ("prompt_to_repeat",)),
    "copy:copying_multiple": Constraint(copying_multiple, ("prompt_to_repeat", "N")),
    "copy:repeat_phrase": Constraint(repeat_phrase, ("phrase", "small_n")),
    "new:copy_span_idx": Constraint(copy_span_idx, ("prompt_to_repeat", "n_start", "n_end")),
    "keywords:word_once": Constraint(word_once, ("keyword",)),
    "keywords:word_count_different_numbers": Constraint(
        word_count_different_numbers, ("keyword", "frequency", "relation")
    ),
    "keywords:exclude_word_harder": Constraint(exclude_word_harder, ("keyword",)),
    "keywords:keyword_specific_position": Constraint(keyword_specific_position, ("keyword", "n", "m")),
    "keywords:palindrome": Constraint(palindrome),
    "keywords:start_end": Constraint(start_end),
    "keywords:no_adjacent_consecutive": Constraint(no_adjacent_consecutive),
    "letters:letter_counting": Constraint(letter_counting, ("N", "relation")),
    "letters:letter_counting2": Constraint(letter_frequency, ("letter", "let_frequency", "let_relation")),
    "first_word:first_word_sent": Constraint(first_word_sent, ("first_word",)),
    "first_word:first_word_answer": Constraint(first_word_answer, ("first_word",)),
    "last_word:last_word_sent": Constraint(last_word_sent, ("last_word",)),
    "last_word:last_word_answer": Constraint(last_word_answer, ("last_word",)),
    "paragraphs:paragraphs": Constraint(paragraphs),
    "paragraphs:paragraphs2": Constraint(paragraphs2),
    "detectable_format:sentence_hyphens": Constraint(sentence_hyphens),
    "detectable_format:square_brackets": Constraint(square_brackets),
    "detectable_format:bigram_wrapping": Constraint(bigram_wrapping),
    "punctuation:punctuation_dot": Constraint(punctuation_dot),
    "punctuation:punctuation_exclamation": Constraint(punctuation_exclamation),
    "count:lowercase_counting": Constraint(lowercase_counting, ("N",)),
    "count:counting_composition": Constraint(counting_composition, ("n_sent", "n_words")),
    "count:count_unique": Constraint(count_unique),
    "count:count_increment_word": Constraint(count_increment_word, ("keyword1", "keyword2")),
}
