"""Which rows are looked at."""

from __future__ import annotations

from typing import Any

import pytest

from posttrain.data.records import Problem
from posttrain.errors import UserError
from posttrain.inspection.pick import pick

RECORDS = [
    Problem([{"role": "user", "content": f'{n} "is"\nOdd?' if n % 2 else f"{n}"}], {"id": n}, place=f"a/rows.jsonl:{n}")
    for n in range(1, 101)
]


@pytest.mark.parametrize(
    ("asked", "picked"),
    [
        ({}, ([0, 1, 2], 100)),
        ({"at": 17}, ([16, 17, 18], 100)),
        ({"at": 100}, ([99], 100)),
        ({"place": "rows.jsonl:40"}, ([39, 40, 41], 100)),
        ({"place": "a/rows.jsonl:7"}, ([6, 7, 8], 100)),
        ({"grep": "odd"}, ([0, 2, 4], 50)),
        ({"grep": '"is"\nodd'}, ([0, 2, 4], 50)),  # as it is written in the text, not in JSON
        ({"grep": "odd", "at": 50}, ([50, 52, 54], 26 - 1)),
    ],
)
def test_rows_in_order(asked: dict[str, Any], picked: tuple[list[int], int]) -> None:
    assert pick(RECORDS, 3, **asked) == picked


def test_drawn_rows_are_the_seeds_and_spread_evenly() -> None:
    assert pick(RECORDS, 5, seed=3) == pick(RECORDS, 5, seed=3) != pick(RECORDS, 5, seed=4)
    drawn = [index for seed in range(400) for index in pick(RECORDS, 10, seed=seed)[0]]
    halves = sum(index < 50 for index in drawn)
    assert abs(halves - 2000) < 3 * (4000 * 0.25) ** 0.5  # three standard deviations of a fair coin, generously
    assert set(drawn) == set(range(100))
    assert pick(RECORDS, 500, seed=1) == (list(range(100)), 100)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"at": 101}, "--at: there is no row 101: there are 100"),
        ({"at": 0}, "--at: there is no row 0"),
        ({"place": "rows.jsonl:101"}, "--row: no row is from rows.jsonl:101. Did you mean"),
        ({"grep": "even"}, "--grep: no row says 'even'"),
    ],
)
def test_rows_that_are_not_there(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as error:
        pick(RECORDS, 3, **asked)
    assert said in str(error.value)
