"""Tülu 3's first constraints, each by what keeps it and what does not; the arguments are the data's."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytest.importorskip("posttrain.graders.constraints.arguments")

from posttrain.graders.constraints.if_functions import FUNCTIONS, function_of_ground_truth
from posttrain.graders.grade import BadProblem

CASES: list[tuple[str, dict[str, Any], str, str]] = [
    ("verify_keywords", {"keyword_list": ["rain", "Sun"]}, "Training in the sun", "Rain only"),
    ("verify_keyword_frequency", {"word": "a", "N": 2}, "A cat, a dog", "a cat and another"),
    ("validate_forbidden_words", {"forbidden_words": ["rain"]}, "sun", "training"),
    ("verify_letter_frequency", {"letter": "a", "N": 2}, "Aa a", "aaa"),
    ("validate_response_language", {"language": "de"}, "Das ist ein deutscher Satz.", "This is an English sentence."),
    ("verify_paragraph_count", {"N": 2}, "one\n* * *\ntwo", "one\n* * *\n* * *\ntwo"),
    ("validate_word_constraint", {"N": 3, "quantifier": "at least"}, "one two three", "one two"),
    ("validate_word_constraint", {"N": 3, "quantifier": "at most"}, "one two three", "one two three four"),
    ("validate_word_constraint", {"N": 20, "quantifier": "around"}, "w " * 22, "w " * 23),
    ("verify_sentence_constraint", {"N": 2, "quantifier": "at least"}, "See e.g. Mr. A. Go!", "See e.g. Mr. A."),
    ("verify_sentence_constraint", {"N": 3, "quantifier": "around"}, "One. Two.", "One."),
    ("validate_paragraphs", {"N": 2, "first_word": "Two", "i": 2}, "one\n\nTwofold", "Two\n\none"),
    ("verify_postscript", {"postscript_marker": "P.S."}, "Hi\nP.S. More", "Hi\nP.S."),
    ("validate_placeholders", {"N": 2}, "[a] and []", "[a] and [b\n]"),
    ("verify_bullet_points", {"N": 2}, "* a\n  - b", "* a\n- b\n- c"),
    ("validate_title", {}, "<<Joy>>", "<<Joy\n>>"),
    ("validate_choice", {"options": ["yes", "no"]}, "yes", "Perhaps"),
    ("validate_highlighted_sections", {"N": 2}, "*a* **", "*a*\n*b"),
    ("validate_sections", {"N": 2, "section_splitter": "Section"}, "Section 1 Section 2", "Text Section 1 Section 2"),
    ("validate_json_format", {}, '{"a": 1}', '```json\n{"a": 1}\n```'),
    ("validate_repeat_prompt", {"original_prompt": "Say it"}, "Say it. It.", "It. Say it"),
    ("validate_two_responses", {}, "a ****** b", "a ****** a"),
    ("validate_uppercase", {}, "ALL OF IT", "Most OF IT"),
    ("validate_lowercase", {}, "all of it", "Most of it"),
    ("validate_frequency_capital_words", {"N": 2, "quantifier": "at most"}, "A BIG dog", "A BIG DOG"),
    ("validate_end", {"end_phrase": "The end."}, "So. The end.", "The end. "),
    ("validate_quotation", {}, '"Quoted"', '"Quoted'),
    ("validate_no_commas", {}, "None", "One, two"),
]


@pytest.mark.parametrize(("name", "arguments", "kept", "broken"), CASES)
def test_functions(name: str, arguments: dict[str, Any], kept: str, broken: str) -> None:
    function = function_of_ground_truth(json.dumps({"func_name": name, "keyword_list": None, **arguments}))
    assert function == (name, arguments)
    assert [function.followed(text) for text in (kept, broken, " ")] == [True, False, False]


def test_every_function_has_a_case() -> None:
    assert {name for name, *_ in CASES} == set(FUNCTIONS)
    assert len(FUNCTIONS) == 25


@pytest.mark.parametrize(
    ("truth", "message"),
    [
        ("", "must be {"),
        ("[]", "must be {"),
        ({"func_name": None}, "must be {"),
        ({"func_name": "validate_titel"}, "Did you mean 'validate_title'?"),
        ({"func_name": "validate_end"}, "validate_end takes end_phrase, and is given no argument"),
        ({"func_name": "validate_title", "N": 3}, "validate_title takes no argument, and is given N"),
        ({"func_name": "validate_placeholders", "N": "3"}, "validate_placeholders: N is '3'"),
        ({"func_name": "validate_word_constraint", "N": 3, "quantifier": "about"}, "quantifier is 'about'"),
        ({"func_name": "validate_paragraphs", "N": 2, "first_word": "a", "i": 3}, "i is 3"),
        ({"func_name": "verify_letter_frequency", "N": 2, "letter": "ab"}, "not one character"),
    ],
)
def test_a_ground_truth_that_cannot_be_checked(truth: Any, message: str) -> None:
    with pytest.raises(BadProblem) as error:
        function_of_ground_truth(truth)
    assert message in str(error.value)
