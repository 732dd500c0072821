"""Token texts join to what the model reads, whatever a character takes."""

from __future__ import annotations

from typing import Any

import pytest

from posttrain.inspection import tokens
from posttrain.inspection.tokens import read_tokens

TEXT = "<|im_start|>user\n  naïve 👍🏽 \t日本語 e\u0301 x<|im_end|>\n"


@pytest.mark.parametrize("by_offsets", [True, False])
def test_texts_join_to_the_decoded_text(tiny: Any, by_offsets: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not by_offsets:
        monkeypatch.setattr(tokens, "_by_offsets", lambda *_: None)
    ids = tiny(TEXT, add_special_tokens=False)["input_ids"]
    read = read_tokens(tiny, ids)
    assert "".join(token.text for token in read) == TEXT == tiny.decode(ids)
    assert [token.id for token in read] == ids
    assert [token.text for token in read if token.special] == ["<|im_start|>", "<|im_end|>"]


def test_a_character_stands_at_its_first_token(tiny: Any) -> None:
    ids = tiny("👍", add_special_tokens=False)["input_ids"]
    assert [token.text for token in read_tokens(tiny, ids)] == ["👍", *[""] * (len(ids) - 1)]
    assert len(ids) > 1


def test_no_tokens(tiny: Any) -> None:
    assert read_tokens(tiny, []) == []
