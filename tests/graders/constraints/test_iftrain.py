"""Each of IF-RLVR's 29 constraints: a response that keeps it, one that breaks it, and where the checker is odd."""

from __future__ import annotations

from typing import Any

import pytest

from posttrain.graders import BadProblem
from posttrain.graders.constraints.iftrain import CONSTRAINTS
from posttrain.graders.constraints.table import instruction

PROMPT = {"prompt_to_repeat": "Write a long poem."}
PHRASE = {"phrase": "The early bird catches the worm"}

ODD = (
    "\x00",
    "\ud800",
    "\u0130 \u00df",
    "-",
    ".",
    "!?",
    '"',
    "'",
    "<<",
    ">>",
    "[" * 3000,
    "***",
    "\u2028\r",
    "1. " * 500,
)

Case = tuple[dict[str, Any], str, bool]
CASES: dict[str, list[Case]] = {
    "copy:copy": [
        (PROMPT, " write a long poem.\n", True),
        (PROMPT, "Write a long poem. Roses", False),
        (PROMPT, '"Write a long poem."', False),
    ],
    "copy:copying_simple": [
        (PROMPT, "Write a long poem.", True),
        (PROMPT, "Write a  long poem.", False),
        (PROMPT, "Roses", False),
    ],
    "copy:copying_multiple": [
        (PROMPT | {"N": 2}, "Write a long poem.\n******\nWrite a long poem.", True),
        (PROMPT | {"N": 2}, "Write a long poem.", False),
        (PROMPT | {"N": 2}, "Write a long poem.***Write a long poem.", False),
        (PROMPT | {"N": 2}, "Write a long poem.******Write a long poem.******", False),
    ],
    "copy:repeat_phrase": [
        (PHRASE | {"small_n": 2}, "The early cat catches the worm. The early fox catches the worm.", True),
        (PHRASE | {"small_n": 2}, "The early cat catches the worm.", False),
        (PHRASE | {"small_n": 1}, "The early bird catches the worm.", False),  # nothing replaced
        (PHRASE | {"small_n": 1}, "The early cat likes the worm.", False),  # two words
        (PHRASE | {"small_n": 1}, "The late bird catches the worm.", True),  # not only the middle word
        (PHRASE | {"small_n": 1}, "the early cat catches the worm.", False),  # capitals count
    ],
    "new:copy_span_idx": [
        (PROMPT | {"n_start": 6, "n_end": 12}, "a long", True),
        (PROMPT | {"n_start": 6, "n_end": 12}, "A LONG\n", True),
        (PROMPT | {"n_start": 6, "n_end": 11}, "a long", False),  # the last one is left out
        (PROMPT | {"n_start": 6, "n_end": 12}, "I say: a long", False),
        (PROMPT | {"n_start": 0, "n_end": 5}, "Write", True),  # not at random
    ],
    "keywords:word_once": [
        ({"keyword": "rain"}, "Rain!", True),
        ({"keyword": "rain"}, "sun", False),
        ({"keyword": "rain"}, "rain in training", False),
        ({"keyword": "rain"}, "in training", True),
    ],
    "keywords:word_count_different_numbers": [
        ({"keyword": "rain", "frequency": 2, "relation": "at least"}, "rain rain rain", True),
        ({"keyword": "rain", "frequency": 2, "relation": "at least"}, "rain", False),
        ({"keyword": "rain", "frequency": 2, "relation": "less than"}, "rain", True),
    ],
    "keywords:exclude_word_harder": [
        ({"keyword": "rain"}, "The sun is out", True),
        ({"keyword": "rain"}, "The rain is out", False),
        ({"keyword": "rain"}, "Rain, no rain.", True),  # only between spaces
    ],
    "keywords:keyword_specific_position": [
        ({"keyword": "cat", "n": 2, "m": 3}, "One. My own cat.", True),
        ({"keyword": "cat", "n": 2, "m": 3}, "One. My cat own.", False),
        ({"keyword": "cat", "n": 2, "m": 3}, "One. My, cat.", True),  # the comma is the second
        ({"keyword": "cat", "n": 2, "m": 3}, "One. My own Cat.", False),
        ({"keyword": "cat", "n": 3, "m": 1}, "One. cat", False),
        ({"keyword": "cat", "n": 1, "m": 9}, "One cat", False),
    ],
    "keywords:palindrome": [
        ({}, "He saw a racecar pass", True),
        ({}, "No such thing", False),
        ({}, "Noon!", False),  # capitals and punctuation count
        ({}, "This is a word", True),  # "a" is one
    ],
    "keywords:start_end": [
        ({}, "Yes it is yes", True),
        ({}, "Yes it is no", False),
        ({}, "Yes it is yes.", False),
        ({}, "yes", False),
    ],
    "keywords:no_adjacent_consecutive": [
        ({}, "Bees act calmly", True),
        ({}, "A bee", False),
        ({}, "a 1 b", True),
        ({}, "Zebras are", True),
        ({}, "1 2", False),
    ],
    "letters:letter_counting": [
        ({"N": 3, "relation": "at least"}, "A b c", True),
        ({"N": 3, "relation": "at least"}, "a 1 \u00e9 c", False),  # a to z only
        ({"N": 3, "relation": "less than"}, "ab 12", True),
        ({"N": 3, "relation": "less than"}, "abc", False),
    ],
    "letters:letter_counting2": [
        ({"letter": "a", "let_frequency": 2, "let_relation": "at least"}, "A-a", True),
        ({"letter": "a", "let_frequency": 2, "let_relation": "at least"}, "a", False),
        ({"letter": "a", "let_frequency": 2, "let_relation": "less than"}, "a", True),
    ],
    "first_word:first_word_sent": [
        ({"first_word": "We"}, "We go. we stay!", True),
        ({"first_word": "We"}, "We go. They stay.", False),
        ({"first_word": "We"}, "We, too.", False),
        ({"first_word": "We"}, "We go\nThey stay.", True),  # one sentence
        ({"first_word": "We"}, "We see Mr. Fox.", True),
    ],
    "first_word:first_word_answer": [
        ({"first_word": "We"}, "we go. They stay.", True),
        ({"first_word": "We"}, "They go.", False),
        ({"first_word": "We"}, "We, too.", False),
    ],
    "last_word:last_word_sent": [
        ({"last_word": "end"}, 'The end. My "END"!', True),
        ({"last_word": "end"}, "The end. My start.", False),
        ({"last_word": "end"}, "The weekend.", False),
        ({"last_word": "end"}, "The end?!", False),  # "!" is a sentence of its own
    ],
    "last_word:last_word_answer": [
        ({"last_word": "end"}, "The End?!", True),
        ({"last_word": "end"}, "The end. No.", False),
        ({"last_word": "end"}, "The e-nd", True),  # punctuation in it is left out too
    ],
    "paragraphs:paragraphs": [
        ({}, "One\n***\nTwo", True),
        ({}, "One\n\nTwo", False),
        ({}, "One***Two***Three", False),
        ({}, "***One***Two", True),
    ],
    "paragraphs:paragraphs2": [
        ({}, "One\n\nTwo", True),
        ({}, "One\nTwo", False),
        ({}, "One\n\n\n\nTwo", False),  # a blank one between them
        ({}, "One\n\nTwo\n\n", True),
    ],
    "detectable_format:sentence_hyphens": [
        ({}, "We go.-They stay.-So it is.", True),
        ({}, "We go. They stay.", False),
        ({}, "We go.- They stay.", False),
        ({}, "A well-known one.", False),  # a hyphen in a word
        ({}, "We go.", True),
    ],
    "detectable_format:square_brackets": [
        ({}, "[We] [go.]\n[home]", True),
        ({}, "[We] go", False),
        ({}, "[We go]", False),
        ({}, "[We], [go]", False),
        ({}, "[We][go]", True),
    ],
    "detectable_format:bigram_wrapping": [
        ({}, "<<I am>> <<at home>>", True),
        ({}, "I am at home", False),
        ({}, "<<I am at>> <<home now>>", False),
        ({}, "<<I am>> now", True),  # the odd word is free
    ],
    "punctuation:punctuation_dot": [
        ({}, "Yes! No", True),
        ({}, "Yes.", False),
        ({}, "3.5", False),
        ({}, "Well\u2026", True),
    ],
    "punctuation:punctuation_exclamation": [
        ({}, "Yes.", True),
        ({}, "Yes!", False),
        ({}, "a != b", False),
    ],
    "count:lowercase_counting": [
        ({"N": 2}, "WE go HOME now", True),
        ({"N": 2}, "we go home", False),
        ({"N": 2}, "don't GO", True),  # don and t
        ({"N": 2}, "we Go iPhone a1 now", True),  # only words of nothing else
    ],
    "count:counting_composition": [
        ({"n_sent": 1, "n_words": 3}, "We go.***They go.***All go.", True),  # the full stop is the third
        ({"n_sent": 1, "n_words": 3}, "We all go.***They all go.***All may go.", False),
        ({"n_sent": 1, "n_words": 3}, "We go.***They go.", False),
        ({"n_sent": 1, "n_words": 3}, "We go.\n* * *\nThey go.\n* * *\nAll go.", False),  # as the instruction writes it
        ({"n_sent": 2, "n_words": 3}, "We go. I go.***We go. I go.***We go. I go.", True),
    ],
    "count:count_unique": [
        ({}, "One two, three.", True),
        ({}, "one two one", False),
        ({}, "One one", True),  # capitals count
        ({}, "One, two, three", False),  # two commas
    ],
    "count:count_increment_word": [
        ({"keyword1": "sun", "keyword2": "rain"}, "Sun, rain, rain", True),
        ({"keyword1": "sun", "keyword2": "rain"}, "sun rain", False),
        ({"keyword1": "sun", "keyword2": "rain"}, "sun sunny rain rain", False),
        ({"keyword1": "sun", "keyword2": "rain"}, "sun rain training", True),
    ],
}


@pytest.mark.parametrize(
    ("name", "kwargs", "response", "followed"),
    [(name, *case) for name, cases in CASES.items() for case in cases],
)
def test_the_constraint(name: str, kwargs: dict[str, Any], response: str, followed: bool) -> None:
    assert instruction(name, kwargs).followed(response) is followed


@pytest.mark.parametrize("name", CASES)
def test_an_odd_response_has_a_verdict_too(name: str) -> None:
    asked = instruction(name, CASES[name][0][0])
    assert all(isinstance(asked.followed(response), bool) for response in ODD)


def test_every_constraint_has_cases_of_both_verdicts() -> None:
    assert len(CONSTRAINTS) == 29
    assert CASES.keys() == CONSTRAINTS.keys()
    for cases in CASES.values():
        assert len(cases) >= 3
        assert {followed for *_, followed in cases} == {True, False}


@pytest.mark.parametrize(
    ("name", "kwargs", "message"),
    [
        ("new:copy_span_idx", PROMPT | {"n_start": 6, "n_end": 6}, "nothing to copy from 6 to 6"),
        ("new:copy_span_idx", PROMPT | {"n_start": 50, "n_end": 60}, "nothing to copy"),
        ("copy:copying_multiple", PROMPT | {"N": 0}, "N is 0, not a number from 1"),
        ("keywords:keyword_specific_position", {"keyword": "a", "n": 0, "m": 1}, "n is 0"),
        ("letters:letter_counting", {"N": 3, "relation": "around"}, "relation is 'around'"),
        ("keywords:word_once", {"keyword": "("}, "read as a regular expression"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused(name: str, kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(BadProblem, match=f"^{name}: .*{message}"):
        instruction(name, kwargs)
