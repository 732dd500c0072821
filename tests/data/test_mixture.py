"""Mixtures, against shares worked out by hand."""

from __future__ import annotations

from collections import Counter

import pytest

from posttrain.data.mixture import (
    allocate,
    draw,
    most_rows,
    random_state,
    recipe_rows,
    rows_to_take,
    shares_by_temperature,
)
from posttrain.errors import UserError
from posttrain.recipe.schema import Data


def test_temperature() -> None:
    assert shares_by_temperature([900, 100], 1) == pytest.approx([0.9, 0.1])
    assert shares_by_temperature([900, 100], 2) == pytest.approx([0.75, 0.25])  # 30 : 10
    assert shares_by_temperature([8000, 1000], 3) == pytest.approx([2 / 3, 1 / 3])  # 20 : 10
    assert shares_by_temperature([10**6, 10], 1e9) == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize(
    ("shares", "rows", "taken"),
    [
        ([0.7, 0.3], 10_000, [7000, 3000]),
        ([0.29, 0.71], 100, [29, 71]),  # 0.29 * 100 is 28.999999999999996
        ([1 / 3, 1 / 3, 1 / 3], 10, [4, 3, 3]),  # a tie: the first
        ([0.47, 0.16, 0.158, 0.12, 0.061, 0.031], 100, [47, 16, 16, 12, 6, 3]),
        ([0.5, 0.5], 1, [1, 0]),
        ([1.0, 0.0], 7, [7, 0]),
    ],
)
def test_largest_remainder(shares: list[float], rows: int, taken: list[int]) -> None:
    assert allocate(shares, rows) == taken


def test_most_rows_without_repeating() -> None:
    assert most_rows([3000, 3000], [0.7, 0.3]) == 4285  # 3000 / 0.7 = 4285.7
    assert most_rows([7000, 3000], [0.7, 0.3]) == 10_000
    assert allocate([0.7, 0.3], 4285) == [3000, 1285]  # 2999.5 and 1285.5, a tie


def test_rows_to_take() -> None:
    names = ["a", "b"]
    assert rows_to_take([900, 100], temperature=2, names=names) == [300, 100]  # 0.25 of 400
    assert rows_to_take([900, 100], names=names) == [900, 100]
    assert rows_to_take([900, 100], shares=[2, 2], rows=100, names=names) == [50, 50]
    assert rows_to_take([900, 100], shares=[1, 3], rows=400, repeat=True, names=names) == [100, 300]
    with pytest.raises(UserError, match=r"b has 100 rows, and 300 are asked of it\n  At most 133 rows"):
        rows_to_take([900, 100], shares=[1, 3], rows=400, names=names)
    with pytest.raises(UserError, match="b would give no row to 10"):
        rows_to_take([10**6, 1], rows=10, names=names)


def test_draw_takes_each_row_as_often_as_any_other() -> None:
    times = Counter(draw(10, 25, random_state("a")).tolist())
    assert sorted(times.values()) == 5 * [2] + 5 * [3]
    few = draw(1000, 10, random_state("a"))
    assert len(set(few.tolist())) == 10 and list(few) == sorted(few)
    assert draw(1000, 10, random_state("a")).tolist() == few.tolist()
    assert draw(1000, 10, random_state("b")).tolist() != few.tolist()


def test_draw_is_fair() -> None:
    rng = random_state("fair")
    times = Counter(number for _ in range(4000) for number in draw(5, 2, rng).tolist())
    # Each of 5 is drawn with p = 0.4; 4,000 draws have a standard deviation of 31.
    assert all(abs(count - 1600) < 5 * 31 for count in times.values())


def recipe(first: dict, second: dict, **more: object) -> Data:
    return Data.model_validate({"train": [{"path": "a.jsonl"} | first, {"path": "b.jsonl"} | second]} | more)


@pytest.mark.parametrize(
    ("data", "taken"),
    [
        (recipe({}, {}), [900, 100]),
        (recipe({"weight": 0.5}, {"weight": 3}), [450, 300]),
        (recipe({"share": 7}, {"share": 3}), [233, 100]),  # 333 of them: 233.1 and 99.9
        (recipe({"share": 7}, {"share": 3}, mix={"rows": 100}), [70, 30]),
        (recipe({}, {}, mix={"temperature": 2}), [300, 100]),
        (recipe({}, {}, mix={"temperature": 2, "rows": 1000, "repeat": True}), [750, 250]),
    ],
)
def test_a_recipe_says_how(data: Data, taken: list[int]) -> None:
    assert recipe_rows([900, 100], data, ["a", "b"]) == taken


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: recipe({"share": 1}, {}), "every source of train"),
        (lambda: recipe({"share": 1, "weight": 1}, {}), "not both"),
        (lambda: recipe({"share": 1}, {"share": 1}, mix={"temperature": 2}), "not both"),
        (lambda: recipe({}, {}, mix={"rows": 5}), "say how to mix"),
        (lambda: recipe({"weight": 1}, {}, mix={"temperature": 2}), "weight is for"),
        (lambda: recipe({}, {}, unseen=[{"path": "c.jsonl", "share": 1}]), "training sources alone"),
    ],
)
def test_a_recipe_that_says_it_twice_or_not_at_all(wrong, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        wrong()
