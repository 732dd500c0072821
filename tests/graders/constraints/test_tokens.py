from __future__ import annotations

import pytest

from posttrain.graders.constraints.language import detected
from posttrain.graders.constraints.tokens import sentences, words


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        ("Dr. Smith went home. He was tired.", ["Dr. Smith went home.", "He was tired."]),
        ("It cost $3.50 in the U.S. last year. Cheap!", ["It cost $3.50 in the U.S. last year.", "Cheap!"]),
        ("One\n\ntwo", ["One\n\ntwo"]),  # a line break is no end
        ('He said "Go." Then left.', ['He said "Go."', "Then left."]),
    ],
)
def test_punkt_sentences(text: str, found: list[str]) -> None:
    assert sentences(text) == found


def test_treebank_words() -> None:
    assert words("I don't, Mr. Fox. You do.") == ["I", "do", "n't", ",", "Mr.", "Fox", ".", "You", "do", "."]
    assert words('"Well-done"') == ["``", "Well-done", "''"]


def test_a_language_is_told_the_same_way_each_time() -> None:
    assert {detected("The cat sat on the mat and looked out of the window.") for _ in range(5)} == {"en"}
    assert detected("Le chat dort sur le tapis devant la maison.") == "fr"
    # Short enough to be torn between languages: unseeded, this one varies from call to call.
    assert len({detected("no") for _ in range(20)}) == 1
    assert detected("12 !?") is None
