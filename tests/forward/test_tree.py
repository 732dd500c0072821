"""Rows as a tree: what they have in common is there once, and every token is somewhere."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from posttrain.forward.tree import Segment, segments_of


def rows(*texts: str) -> list[np.ndarray]:
    return [np.array([ord(letter) for letter in text], dtype=np.int64) for text in texts]


def test_a_pair_shares_its_prompt() -> None:
    assert segments_of(rows("0123456789chosen", "0123456789rejected")) == [
        Segment((0, 1), 0, 10, None),
        Segment((0,), 10, 16, 0),
        Segment((1,), 10, 18, 0),
    ]


def test_rows_share_a_system_prompt_and_groups_their_own_prompts() -> None:
    found = segments_of(rows("system: ab-question-1", "system: ab-question-2", "system: xy"))
    assert found == [
        Segment((0, 1, 2), 0, 8, None),
        Segment((0, 1), 8, 20, 0),
        Segment((0,), 20, 21, 1),
        Segment((1,), 20, 21, 1),
        Segment((2,), 8, 10, 0),
    ]


def test_a_few_tokens_are_not_worth_sharing() -> None:
    assert segments_of(rows("1234567a", "1234567b")) == [Segment((0,), 0, 8, None), Segment((1,), 0, 8, None)]


def test_equal_rows_are_one_whatever_their_length() -> None:
    assert segments_of(rows("abc", "x", "abc")) == [Segment((0, 2), 0, 3, None), Segment((1,), 0, 1, None)]


def test_a_row_may_be_the_beginning_of_another() -> None:
    assert segments_of(rows("0123456789", "0123456789ab")) == [Segment((0, 1), 0, 10, None), Segment((1,), 10, 12, 0)]
    assert segments_of(rows("abc", "abcd")) == [Segment((0,), 0, 3, None), Segment((1,), 0, 4, None)]


def test_a_row_of_no_tokens_is_in_no_segment() -> None:
    assert segments_of(rows("", "ab")) == [Segment((1,), 0, 2, None)]


@pytest.mark.parametrize("seed", range(20))
def test_the_chain_of_a_row_spells_it(seed: int) -> None:
    draw = np.random.default_rng(seed)
    many = [draw.integers(0, 2, size=draw.integers(0, 40)) for _ in range(30)]
    found = segments_of(many)
    for row, tokens in enumerate(many):
        chain = [segment for segment in found if row in segment.rows]
        assert [segment.start for segment in chain] == [0, *(s.end for s in chain)][: len(chain)]
        assert (chain[-1].end if chain else 0) == len(tokens)
        for before, after in pairwise(chain):
            assert after.parent == found.index(before)
    for segment in found:
        spelled = {tuple(many[row][: segment.end]) for row in segment.rows}
        assert len(spelled) == 1
