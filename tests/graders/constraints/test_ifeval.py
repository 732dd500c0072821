"""Each of IFEval's 25 constraints: a response that keeps it, one that breaks it, and where the checker is odd."""

from __future__ import annotations

from typing import Any

import pytest

from posttrain.graders import BadProblem
from posttrain.graders.constraints.ifeval import CONSTRAINTS
from posttrain.graders.constraints.table import instruction

ENGLISH = "the quick brown fox jumps over the lazy dog and runs away into the forest"
GERMAN = "Der schnelle braune Fuchs springt über den faulen Hund und läuft in den Wald"

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
    "keywords:existence": [
        ({"keywords": ["rain", "sun"]}, "Sun after RAIN", True),
        ({"keywords": ["rain", "sun"]}, "Only rain", False),
        ({"keywords": ["rain"]}, "in training", True),  # inside a word too
        ({"keywords": ["r.in"]}, "ruin", True),  # a regular expression
    ],
    "keywords:frequency": [
        ({"keyword": "rain", "frequency": 2, "relation": "at least"}, "Rain, rain", True),
        ({"keyword": "rain", "frequency": 2, "relation": "at least"}, "rain", False),
        ({"keyword": "rain", "frequency": 2, "relation": "at least"}, "rain in training", True),
        ({"keyword": "rain", "frequency": 2, "relation": "less than"}, "rain", True),
        ({"keyword": "rain", "frequency": 2, "relation": "less than"}, "rain rain", False),
    ],
    "keywords:forbidden_words": [
        ({"forbidden_words": ["rain", "sun"]}, "snow", True),
        ({"forbidden_words": ["rain", "sun"]}, "the Sun!", False),
        ({"forbidden_words": ["rain"]}, "training", True),  # only whole words
        ({"forbidden_words": ["rain"]}, "rain-proof", False),
    ],
    "keywords:letter_frequency": [
        ({"letter": "a", "let_frequency": 3, "let_relation": "at least"}, "A banana", True),
        ({"letter": "a", "let_frequency": 3, "let_relation": "at least"}, "an arm", False),
        ({"letter": "A", "let_frequency": 3, "let_relation": "less than"}, "an arm", True),
        ({"letter": "#", "let_frequency": 2, "let_relation": "at least"}, "# One\n# Two", True),  # not at random
    ],
    "language:response_language": [
        ({"language": "de"}, GERMAN, True),
        ({"language": "de"}, ENGLISH, False),
        ({"language": "de"}, "12345", True),  # no language to be told
    ],
    "length_constraints:number_sentences": [
        ({"num_sentences": 2, "relation": "at least"}, "He went. She came.", True),
        ({"num_sentences": 2, "relation": "at least"}, "Mr. Fox went.", False),
        ({"num_sentences": 2, "relation": "less than"}, "Mr. Fox went", True),
        ({"num_sentences": 3, "relation": "at least"}, "Why? No! Yes", True),
    ],
    "length_constraints:number_paragraphs": [
        ({"num_paragraphs": 2}, "One\n***\nTwo", True),
        ({"num_paragraphs": 2}, "One\n\nTwo", False),
        ({"num_paragraphs": 2}, "***\nOne\n***\nTwo\n***", True),  # blank ones at the ends do not count
        ({"num_paragraphs": 2}, "One\n***\n***\nTwo", False),  # one in the middle fails
        ({"num_paragraphs": 2}, "One***Two***Three", False),
    ],
    "length_constraints:number_words": [
        ({"num_words": 3, "relation": "at least"}, "One, two, three.", True),
        ({"num_words": 3, "relation": "at least"}, "One, two", False),
        ({"num_words": 3, "relation": "at least"}, "I don't", True),  # don't is two
        ({"num_words": 3, "relation": "less than"}, "One, two", True),
        ({"num_words": 3, "relation": "less than"}, "One two three", False),
    ],
    "length_constraints:nth_paragraph_first_word": [
        ({"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "Yet"}, "One.\n\nyet, two.", True),
        ({"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "yet"}, 'One.\n\n"Yet" two.', True),
        ({"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "yet"}, "One.\n\nTwo.", False),
        ({"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "yet"}, "One.\n\nYet.\n\nThree.", False),
        ({"num_paragraphs": 2, "nth_paragraph": 1, "first_word": "yet"}, "*Yet* one.\n\nTwo.", False),
        # Two are counted, and the second of three is blank.
        ({"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "yet"}, "One.\n\n\n\nYet two.", False),
        ({"num_paragraphs": 2, "nth_paragraph": 3, "first_word": "yet"}, "One.\n\nYet two.", False),
    ],
    "detectable_content:number_placeholders": [
        ({"num_placeholders": 2}, "Dear [name] of [town]", True),
        ({"num_placeholders": 2}, "Dear [name]", False),
        ({"num_placeholders": 1}, "Dear [na\nme]", False),  # on one line
        ({"num_placeholders": 2}, "[][[a]", True),  # an empty one counts
    ],
    "detectable_content:postscript": [
        ({"postscript_marker": "P.S."}, "Bye.\nP.S. Write.", True),
        ({"postscript_marker": "P.S."}, "Bye.\np. s. write", True),
        ({"postscript_marker": "P.S."}, "Bye.\nPS Write.", False),
        ({"postscript_marker": "P.P.S"}, "Bye. p.p.s again", True),
        ({"postscript_marker": "P.P.S"}, "Bye. P.S. once", False),
    ],
    "detectable_format:number_bullet_lists": [
        ({"num_bullets": 2}, "List:\n* one\n- two", True),
        ({"num_bullets": 2}, "* one\n* two\n* three", False),
        ({"num_bullets": 1}, "** no bullet\n  - one", True),
        ({"num_bullets": 1}, "-----", True),  # a rule is a bullet
        ({"num_bullets": 1}, "*\nword", True),  # a star alone takes the next line in
    ],
    "detectable_format:constrained_response": [
        ({}, "My answer is yes.", True),
        ({}, "Well. My answer is maybe. Or so.", True),
        ({}, "my answer is no.", False),
        ({}, "My answer is yes", False),
    ],
    "detectable_format:number_highlighted_sections": [
        ({"num_highlights": 2}, "*one* and *two*", True),
        ({"num_highlights": 2}, "*one*", False),
        ({"num_highlights": 1}, "** ** and * *", False),  # blank ones
        ({"num_highlights": 1}, "**bold**", True),
        ({"num_highlights": 1}, "*over\nlines*", False),
    ],
    "detectable_format:multiple_sections": [
        ({"section_spliter": "Section", "num_sections": 2}, "Section 1\na\nSection 2\nb", True),
        ({"section_spliter": "Section", "num_sections": 2}, "Section 1\na", False),
        ({"section_spliter": "Section", "num_sections": 1}, "SECTION 1", False),
        ({"section_spliter": "Section", "num_sections": 2}, "Section1 Section 9", True),
        ({"section_spliter": "Section", "num_sections": 1}, "Section one", False),
    ],
    "detectable_format:json_format": [
        ({}, '{"a": [1, 2]}', True),
        ({}, '```json\n{"a": 1}\n```', True),
        ({}, 'Here: {"a": 1}', False),
        ({}, "{'a': 1}", False),
        ({}, "7", True),
        ({}, "[" * 100_000, False),
    ],
    "detectable_format:title": [
        ({}, "<<Poem of joy>>\nText", True),
        ({}, "<Poem of joy>\nText", False),
        ({}, "<< >>", False),
        ({}, "<<Poem\nof joy>>", False),
        ({}, "x <<a>> y <<b>>", True),
    ],
    "combination:two_responses": [
        ({}, "One\n******\nTwo", True),
        ({}, "One\n******\nOne", False),
        ({}, "One\n***\nTwo", False),
        ({}, "******One******Two******", True),
        ({}, "One******  ******Two", False),
        ({}, "One******Two******Three", False),
    ],
    "combination:repeat_prompt": [
        ({"prompt_to_repeat": "Write a poem. "}, "write a poem.\n\nRoses", True),
        ({"prompt_to_repeat": "Write a poem."}, "Roses. Write a poem.", False),
        ({"prompt_to_repeat": "Write a poem."}, '"Write a poem." Roses', False),
        ({"prompt_to_repeat": "Write a poem."}, "Write a poem.", True),
    ],
    "startend:end_checker": [
        ({"end_phrase": "Any questions?"}, "Done. any questions?\n", True),
        ({"end_phrase": "Any questions?"}, '"Any questions?"', True),
        ({"end_phrase": "Any questions?"}, "Any questions? No.", False),
        ({"end_phrase": "Any questions?"}, "Any questions?*", False),
    ],
    "startend:quotation": [
        ({}, '"Hello."\n', True),
        ({}, '"Hello." he said', False),
        ({}, "\u201cHello.\u201d", False),
        ({}, '"', False),
        ({}, '""', True),
    ],
    "change_case:capital_word_frequency": [
        ({"capital_frequency": 2, "capital_relation": "at least"}, "THIS IS it", True),
        ({"capital_frequency": 2, "capital_relation": "at least"}, "This IS it", False),
        ({"capital_frequency": 1, "capital_relation": "less than"}, "This is it", True),
        ({"capital_frequency": 2, "capital_relation": "at least"}, "I see A dog", True),  # I and A are
        ({"capital_frequency": 2, "capital_relation": "at least"}, "WELL-DONE", False),  # one word
    ],
    "change_case:english_capital": [
        ({}, ENGLISH.upper(), True),
        ({}, ENGLISH.capitalize(), False),
        ({}, GERMAN.upper(), False),
        ({}, "12345", False),
    ],
    "change_case:english_lowercase": [
        ({}, ENGLISH + ". 12!", True),
        ({}, ENGLISH.capitalize(), False),
        ({}, GERMAN.lower(), False),
        ({}, "12345", False),
    ],
    "punctuation:no_comma": [
        ({}, "One; two.", True),
        ({}, "One, two.", False),
        ({}, "1,000", False),
        ({}, "\u3001\uff0c", True),  # other writing systems' commas
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
    assert len(CONSTRAINTS) == 25
    assert CASES.keys() == CONSTRAINTS.keys()
    for cases in CASES.values():
        assert len(cases) >= 3
        assert {followed for *_, followed in cases} == {True, False}


@pytest.mark.parametrize(
    ("name", "kwargs", "message"),
    [
        ("keywords:existence", {"keywords": "rain"}, "keywords is 'rain', not a list of texts"),
        ("keywords:existence", {"keywords": []}, "not a list of texts"),
        ("keywords:existence", {"keywords": ["rain", 3]}, r"keywords\[1\] is 3, not a text"),
        ("keywords:existence", {"keywords": ["rain", "(c)("]}, "is read as a regular expression"),
        ("keywords:frequency", {"keyword": "a", "frequency": 2, "relation": "at most"}, "relation is 'at most'"),
        ("keywords:frequency", {"keyword": "a", "frequency": "2", "relation": "at least"}, "not a whole number"),
        ("keywords:letter_frequency", {"letter": "ab", "let_frequency": 2, "let_relation": "at least"}, "one char"),
        ("language:response_language", {"language": "zh"}, "'zh'.* vi zh-cn zh-tw"),
        ("length_constraints:number_paragraphs", {"num_paragraphs": True}, "num_paragraphs is True"),
        ("length_constraints:number_paragraphs", {"num_paragraphs": -1}, "num_paragraphs is -1"),
        ("length_constraints:number_paragraphs", {"num_paragraphs": 2.5}, "num_paragraphs is 2.5"),
        (
            "length_constraints:nth_paragraph_first_word",
            {"num_paragraphs": 2, "nth_paragraph": 0, "first_word": "a"},
            "nth_paragraph is 0, not a number from 1",
        ),
        ("startend:end_checker", {"end_phrase": " "}, "end_phrase is ' ', not a text"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused(name: str, kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(BadProblem, match=f"^{name}: .*{message}"):
        instruction(name, kwargs)


def test_a_number_that_a_table_made_a_float_is_a_number() -> None:
    assert instruction("length_constraints:number_paragraphs", {"num_paragraphs": 2.0}).followed("a***b")
