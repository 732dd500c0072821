"""`data sample`: which rows, how many of each, in which order."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from posttrain.curation.sample import evenly, sample
from posttrain.data.read import read_rows
from posttrain.errors import UserError
from posttrain.recipe.schema import Source


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """100 rows, three quarters of kind a, one of kind c; row i is i characters longer than the shortest."""
    kinds = [("b" if i % 4 == 0 else "a") if i != 50 else "c" for i in range(100)]
    rows = [f'{{"n":{i:02}0,"meta":{{"kind":"{kind}"}},"x":"{"x" * i}"}}' for i, kind in enumerate(kinds)]
    rows = [row.replace(f":{i:02}0,", f":{i + 100},") for i, row in enumerate(rows)]
    (tmp_path / "in.jsonl").write_text("\n".join(rows))
    return Source(path=str(tmp_path / "in.jsonl"))


def taken(source: Source, count: int, **more: Any) -> tuple[list[int], dict[str, int]]:
    out = Path(source.path).with_name("out.jsonl")
    said = sample(source, count, out, force=True, **more)
    return [row["n"] - 100 for row, _ in read_rows(str(out))], said


def test_random_rows_in_their_order(source: Source) -> None:
    numbers, _ = taken(source, 20)
    assert len(set(numbers)) == 20 and numbers == sorted(numbers)
    assert taken(source, 20)[0] == numbers != taken(source, 20, seed=1)[0]
    assert taken(source, 100)[0] == list(range(100))


def test_head_shortest_longest(source: Source) -> None:
    assert taken(source, 3, how="head")[0] == [0, 1, 2]
    assert taken(source, 3, how="shortest")[0] == [0, 1, 2]
    assert taken(source, 3, how="longest")[0] == [99, 98, 97]


def test_rows_per_value_of_a_column(source: Source) -> None:
    def kinds(numbers: list[int]) -> Counter[str]:
        return Counter("c" if n == 50 else "ab"[n % 4 == 0] for n in numbers)

    numbers, said = taken(source, 20, per="meta.kind")  # 74 a, 25 b, 1 c: 14.8, 5, 0.2
    assert kinds(numbers) == {"a": 15, "b": 5}
    assert said == {"b": 5, "a": 15, "c": 0}
    numbers, said = taken(source, 21, per="meta.kind", equal=True)
    assert said == {"b": 10, "a": 10, "c": 1}
    assert kinds(numbers) == {"a": 10, "b": 10, "c": 1} and numbers == sorted(numbers)


def test_evenly() -> None:
    assert evenly([74, 25, 1], 21) == [10, 10, 1]
    assert evenly([5, 5, 5], 7) == [3, 2, 2]
    assert evenly([1, 2, 100], 100) == [1, 2, 97]


def test_too_few_rows_and_a_column_that_is_not_there(source: Source) -> None:
    for how in ("random", "head", "longest"):
        with pytest.raises(UserError, match=r"in\.jsonl: has 100 rows, and 101 are asked for\n  -n 100"):
            taken(source, 101, how=how)
    with pytest.raises(UserError, match=r"in\.jsonl:1: the row has no kind\n  Its columns: n, meta, x"):
        taken(source, 5, per="kind")
    assert [path.name for path in Path(source.path).parent.iterdir()] == ["in.jsonl"]
