"""The flat sequence: places, positions, and who may see whom, against the rows spelled out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from posttrain.forward.layout import lay_out


def drawn(seed: int, count: int = 12) -> list[np.ndarray]:
    """Rows of which some begin alike."""
    draw = np.random.default_rng(seed)
    beginnings = [draw.integers(0, 50, size=n) for n in (30, 9, 0)]
    return [
        np.concatenate([beginnings[draw.integers(3)], draw.integers(0, 50, size=draw.integers(1, 40))])
        for _ in range(count)
    ]


@pytest.mark.parametrize("seed", range(10))
def test_a_row_is_read_at_its_places_in_order(seed: int) -> None:
    rows = drawn(seed)
    layout = lay_out(rows)
    for row, place in zip(rows, layout.place, strict=True):
        assert layout.input_ids[0, place].tolist() == row.tolist()
        assert layout.position_ids[0, place].tolist() == list(range(len(row)))


def test_the_flat_sequence_is_shorter_than_the_rows_by_what_they_share() -> None:
    prompt = np.arange(20)
    rows = [np.concatenate([prompt, np.full(n, 50 + n)]) for n in (3, 4, 5)]
    assert lay_out(rows).input_ids.shape == (1, 20 + 3 + 4 + 5)


@pytest.mark.parametrize("window", [None, 5, 1000])
@pytest.mark.parametrize("seed", range(5))
def test_a_token_sees_its_own_row_up_to_itself(seed: int, window: int | None) -> None:
    rows = drawn(seed)
    layout = lay_out(rows)
    owed = {}  # what the rows themselves say
    for place in layout.place:
        for at, token in enumerate(place):
            first = 0 if window is None else max(at - window + 1, 0)
            owed[int(token)] = set(place[first : at + 1].tolist())
    seen, order = {}, []
    for block in layout.blocks:
        real = torch.arange(block.queries.numel()) if block.real is None else block.real
        mask = block.mask(window, torch.float32)[:, 0] == 0
        for flat in real.tolist():
            segment, query = divmod(flat, block.queries.shape[1])
            token = int(block.queries[segment, query])
            order.append(token)
            seen[token] = set(block.keys[segment][mask[segment, query]].tolist())
            if block.causal and window is None:
                assert seen[token] == set(block.keys[segment, : query + 1].tolist())
    assert seen == owed
    assert order == list(range(layout.input_ids.shape[1]))  # blocks give their tokens in the order of the sequence


def test_padding_sees_something_so_that_it_is_a_number() -> None:
    layout = lay_out([np.arange(30), np.concatenate([np.arange(20), np.arange(50, 57)])])
    for block in layout.blocks:
        assert torch.isfinite(block.mask(None, torch.float32)).any(-1).all()


def test_a_short_beginning_of_long_rows_is_asked_again_rather_than_masked() -> None:
    """Attention without a mask costs half the pairs of a row, with one all of its own and what they see."""
    common = np.arange(9)
    short, long = (lay_out([np.concatenate([common, np.full(n, first)]) for first in (50, 51)]) for n in (511, 512))
    assert [(block.causal, block.queries.shape[1]) for block in short.blocks] == [(True, 9), (False, 511)]
    assert [(block.causal, block.queries.shape) for block in long.blocks] == [(True, (2, 521)), (True, (1, 9))]
    assert long.blocks[0].real is not None
    assert long.blocks[0].real.tolist() == [*range(9, 521), *range(521 + 9, 2 * 521)]
