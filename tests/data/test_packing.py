"""Best-fit packing against the plain algorithm, and packs that are read from their rows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import pairwise

import numpy
import pytest

from posttrain.data.packing import best_fit, pack, row_lengths


def rooms_of_best_fit(lengths: Sequence[int], size: int) -> list[int]:
    """The room left in each pack, by the textbook: longest first, each where the least room is left."""
    rooms: list[int] = []
    for length in sorted(lengths, reverse=True):
        fitting = [room for room in rooms if room >= length]
        best = min(fitting, default=size)
        if fitting:
            rooms.remove(best)
        rooms.append(best - length)
    return sorted(rooms)


def test_packs_are_those_of_the_textbook() -> None:
    rng = numpy.random.default_rng(0)
    for trial in range(500):
        size, count = int(rng.integers(1, 60)), int(rng.integers(1, 80))
        short = numpy.minimum(size, rng.geometric(0.2, count))
        lengths = short if trial % 2 else rng.integers(1, size + 1, count)
        rows, borders = best_fit(lengths, size)
        assert sorted(rows) == list(range(count))
        packs = [rows[start:end] for start, end in pairwise(borders)]
        assert sorted(size - lengths[each].sum() for each in packs) == rooms_of_best_fit(lengths.tolist(), size)
        assert [each[0] for each in packs] == sorted(each[0] for each in packs)
        assert all(list(each) == sorted(each) for each in packs)


def test_a_worked_example() -> None:
    rows, borders = best_fit(numpy.array([2, 7, 3, 4, 6, 1]), 10)  # 7+3, 6+4, 2+1
    assert rows.tolist() == [0, 5, 1, 2, 3, 4]
    assert borders.tolist() == [0, 2, 4, 6]


def test_a_row_that_is_longer_than_a_pack_is_refused() -> None:
    with pytest.raises(ValueError, match="a row has 11 tokens, and a pack 10"):
        best_fit(numpy.array([3, 11]), 10)


def test_a_million_rows_are_grouped_in_seconds() -> None:
    lengths = numpy.random.default_rng(0).lognormal(5, 1, 1_000_000).astype(int).clip(1, 2048)
    start = time.perf_counter()
    _, borders = best_fit(lengths, 2048)
    assert time.perf_counter() - start < 10  # about 0.4 on an idle core
    assert lengths.sum() / 2048 / (len(borders) - 1) > 0.99


def test_packs_have_their_rows_behind_each_other() -> None:
    from datasets import Dataset

    lengths = [2, 7, 3, 4, 6, 1]
    rows = [{"input_ids": [i] * n, "labels": [-100] + [i] * (n - 1)} for i, n in enumerate(lengths)]
    dataset = Dataset.from_list(rows).select([5, 4, 3, 2, 1, 0]).select([5, 4, 3, 2, 1, 0])
    packs, said = pack(dataset, 10)
    assert said == "packed 6 rows into 3 of 10 tokens: 77% full, 2.0 rows each"
    assert packs[1] == {
        "input_ids": [1] * 7 + [2] * 3,
        "labels": [-100] + [1] * 6 + [-100] + [2] * 2,
        "seq_lengths": [7, 3],
    }
    assert packs[:]["seq_lengths"] == [[2, 1], [7, 3], [4, 6]]
    assert row_lengths(packs).tolist() == [3, 10, 10]


def test_the_length_of_a_row_is_that_of_its_longest_answer() -> None:
    from datasets import Dataset

    rows = [
        {"prompt_ids": [0] * 3, "chosen_ids": [0], "rejected_ids": [0] * 4},
        {"prompt_ids": [0] * 2, "chosen_ids": [0] * 5, "rejected_ids": [0]},
    ]
    assert row_lengths(Dataset.from_list(rows)).tolist() == [7, 7]
    thumbs = [{"prompt_ids": [0], "completion_ids": [0] * 2, "label": True, "KL_completion_ids": [0] * 9}]
    assert row_lengths(Dataset.from_list(thumbs)).tolist() == [3]
