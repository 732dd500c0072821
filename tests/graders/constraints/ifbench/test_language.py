from __future__ import annotations

import io
import os
import pickle

import pytest

from posttrain.graders.constraints.ifbench import language


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Dr. Smith met Mr. J. Doe. He left.", ("Dr. Smith met Mr. J. Doe.", "He left.")),
        ('"Go!" he said. It costs 3.50 now.', ('"Go!"', "he said.", "It costs 3.50 now.")),
        ("One line\nno period\n\nanother", ("One line\nno period\n\nanother",)),
        ("", ()),
    ],
)
def test_sentences(text: str, sentences: tuple[str, ...]) -> None:
    assert language.sentences(text) == sentences


def test_tokens_are_those_of_the_penn_treebank() -> None:
    assert language.tokens("I can't (really) go.") == ["I", "ca", "n't", "(", "really", ")", "go", "."]
    assert language.word_tokens("I can't -- go.") == ["I", "ca", "n't", "go"]


def test_words() -> None:
    assert language.letter_runs("Don't stop_it, ½ well-known") == ["Don", "t", "stop_it", "well", "known"]
    assert language.bare_words('A "b-c" - D.') == ["a", "bc", "d"]
    assert language.stripped_words('A "b-c" - D.') == ["a", "b-c", "", "d"]


@pytest.mark.parametrize(
    ("words", "tag"), [("Write a poem", "VB"), ("Running is fun", "VBG"), ("The cat", "DT"), ("Can you go", "MD")]
)
def test_part_of_speech(words: str, tag: str) -> None:
    assert language.part_of_speech(words.split()) == tag


def test_the_tagger_file_can_run_nothing() -> None:
    class Harmful:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, ("true",)

    with pytest.raises(pickle.UnpicklingError, match="is not data"):
        language._PlainUnpickler(io.BytesIO(pickle.dumps(Harmful()))).load()
    assert language._PlainUnpickler(io.BytesIO(pickle.dumps({"a": {1, 2}}))).load() == {"a": {1, 2}}
