from __future__ import annotations

import pytest

from posttrain.graders.constraints.sentence_rules import split


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("", []),
        ("Hello", ["Hello"]),
        ("Hello. World", ["Hello.", "World"]),
        ("Why? No! Yes.", ["Why?", "No!", "Yes."]),
        ("One line.\nAnd\nanother.", ["One line.", "And another."]),
        ("Well... So.", ["Well...", "So."]),
        ("No?!", ["No?", "!"]),
        ("Mr. Fox met Mrs. Bear.", ["Mr. Fox met Mrs. Bear."]),
        ("See example.com. It has 3.5 stars.", ["See example.com.", "It has 3.5 stars."]),
        ("A Ph.D. helps, e.g. mine.", ["A Ph.D. helps, e.g. mine."]),
        ("The U.S. They agreed.", ["The U.S.", "They agreed."]),
        ("The U.S. agreed.", ["The U.S. agreed."]),
        ("I am A. B is not.", ["I am A. B is not."]),  # an initial
        ("1. Go. 2. Stay.", ["1.", "Go.", "2.", "Stay."]),
        ('He said "go." Then "stop!"', ['He said "go".', 'Then "stop"!']),  # the marks change places
        ('He said "what?!" Then', ['He said "what"?', "!", "Then"]),
        ("He said \u201cgo.\u201d Then", ["He said \u201cgo\u201d.", "Then"]),
        ("Acme Inc. He founded it.", ["Acme Inc", "He founded it."]),  # the full stop is lost
        ("Acme Inc. was his.", ["Acme Inc. was his."]),
        ("Home.me or not.", ["Home.me or not."]),
    ],
)
def test_the_rules(text: str, sentences: list[str]) -> None:
    assert split(text) == sentences
