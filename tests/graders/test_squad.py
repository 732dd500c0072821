"""Against the examples and the arithmetic of SQuAD's own evaluation."""

from __future__ import annotations

import pytest

from posttrain.graders.squad import normalized, token_f1


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The  Eiffel Tower!", "eiffel tower"),
        ("an apple, a pear", "apple pear"),
        ("Thea's theatre", "theas theatre"),
        ("$1,000.50", "100050"),
        ("a-the", "athe"),
        ("a. the; An", ""),
        ("\u00ab\u00c9t\u00e9\u00bb", "\u00ab\u00e9t\u00e9\u00bb"),  # only ASCII punctuation is left out
    ],
)
def test_normal_form(text: str, normal: str) -> None:
    assert normalized(text) == normal


@pytest.mark.parametrize(
    ("answer", "gold", "f1"),
    [
        ("The cat sat", "a cat", 2 / 3),  # 1 common word; precision 1/2, recall 1/1
        ("cat cat dog", "cat dog dog", 2 / 3),  # cat once and dog once are common: 2/3 and 2/3
        ("dog", "cat", 0.0),
        ("Cat!", "the cat", 1.0),
        ("", "cat", 0.0),
        ("the", "a", 0.0),
    ],
)
def test_token_f1(answer: str, gold: str, f1: float) -> None:
    assert token_f1(answer, gold) == pytest.approx(f1)
