"""`data mix`: the shares asked for, rows as they were, the same file for the same seed."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from posttrain.curation.mix import Mixed, Part, mix, report
from posttrain.curation.mixture import asked_mixture
from posttrain.data.read import read_rows
from posttrain.errors import UserError


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with 300 rows of a, 30 of b in CSV; it is the working directory."""
    monkeypatch.chdir(tmp_path)
    Path("a.jsonl").write_text("\ufeff" + "\n\n".join(f'{{"n":{i},  "from": "a"}}' for i in range(300)))
    Path("b.csv").write_text("n,from\n" + "".join(f"{i},b\n" for i in range(30)))
    return tmp_path


def rows_in(path: str) -> list[dict[str, Any]]:
    return [row for row, _ in read_rows(path)]


def mixed(given: list[str], out: str = "mix.jsonl", **more: Any) -> Mixed:
    seed, force = more.pop("seed", 0), more.pop("force", False)
    sources, share_out = asked_mixture(given, **more)
    return mix(sources, Path(out), share_out, seed=seed, force=force)


def test_shares(two: Path) -> None:
    done = mixed(["a.jsonl=0.75", "b.csv=0.25"], rows=100)
    assert done.parts == [Part("a.jsonl", 300, 75, 0), Part("b.csv", 30, 25, 0)]
    rows = rows_in("mix.jsonl")
    assert Counter(row["from"] for row in rows) == {"a": 75, "b": 25}
    assert len({(row["from"], str(row["n"])) for row in rows}) == 100
    assert [row["from"] for row in rows] != sorted(row["from"] for row in rows)  # shuffled
    assert sorted(path.name for path in two.iterdir()) == ["a.jsonl", "b.csv", "mix.jsonl"]
    assert report(done)[1].split() == ["a.jsonl", "300", "75", "75.0%", "0"]


def test_rows_stay_as_they_are_to_the_byte(two: Path) -> None:
    mixed(["a.jsonl"])
    lines = Path("mix.jsonl").read_text().splitlines()
    assert sorted(lines) == sorted(f'{{"n":{i},  "from": "a"}}' for i in range(300))


def test_rows_that_are_too_few_are_taken_again_on_demand(two: Path) -> None:
    with pytest.raises(UserError, match=r"b.csv has 30 rows, and 100 are asked of it\n  At most 60 rows"):
        mixed(["a.jsonl=1", "b.csv=1"], rows=200)
    assert not Path("mix.jsonl").exists()
    done = mixed(["a.jsonl=1", "b.csv=1"], rows=200, repeat=True)
    assert done.parts[1] == Part("b.csv", 30, 100, 70)
    times = Counter(row["n"] for row in rows_in("mix.jsonl") if row["from"] == "b")
    assert sorted(times.values()) == 20 * [3] + 10 * [4]  # 100 = 3 * 30 + 10


def test_counts_temperature_and_as_many_as_there_are(two: Path) -> None:
    assert [part.taken for part in mixed(["a.jsonl=50", "b.csv=7"], counts=True).parts] == [50, 7]
    assert [part.taken for part in mixed(["a.jsonl", "b.csv"], force=True).parts] == [300, 30]
    # sqrt(300) : sqrt(30) = 17.32 : 5.48, of 124 rows 94.2 and 29.8
    done = mixed(["a.jsonl", "b.csv"], temperature=2, force=True)
    assert [part.taken for part in done.parts] == [94, 30]


def test_a_seed_is_a_file(two: Path) -> None:
    for out, seed in (("x.jsonl", 1), ("y.jsonl", 1), ("z.jsonl", 2)):
        mixed(["a.jsonl=1", "b.csv=1"], out, rows=40, seed=seed)
    assert Path("x.jsonl").read_bytes() == Path("y.jsonl").read_bytes() != Path("z.jsonl").read_bytes()


def test_a_recipe_s_training_rows(two: Path) -> None:
    recipe = {
        "stage": "sft",
        "out": "runs/x",
        "data": {
            "train": [
                {"path": "a.jsonl", "share": 3, "limit": 10, "columns": {"number": "n"}},
                {"path": "b.csv", "share": 1},
            ],
            "mix": {"rows": 40, "repeat": True},
        },
    }
    Path("r.yaml").write_text(json.dumps(recipe))
    assert [part.taken for part in mixed(["r.yaml"]).parts] == [30, 10]
    times = Counter(row["number"] for row in rows_in("mix.jsonl") if row["from"] == "a")
    assert sorted(times.values()) == 10 * [3]


@pytest.mark.parametrize(
    ("given", "more", "said"),
    [
        (["a.jsonl=1", "b.csv"], {}, "b.csv: has no share"),
        (["a.jsonl=1", "b.csv=1"], {"temperature": 2.0}, "not both"),
        (["a.jsonl=0"], {}, "must be above 0"),
        (["a.jsonl=0.5"], {"counts": True}, "whole number of rows"),
        (["a.jsonl"], {"temperature": 0.0}, "must be above 0"),
        (["r.yaml"], {"repeat": True}, "a recipe says itself"),
        (["no.jsonl=1"], {}, "no file no.jsonl"),
    ],
)
def test_what_cannot_be_asked(two: Path, given: list[str], more: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        mixed(given, **more)


def test_a_bad_row_that_is_taken_is_named(two: Path) -> None:
    Path("bad.jsonl").write_text('{"a": 1}\n{\n')
    with pytest.raises(UserError, match=r"bad\.jsonl:2: not valid JSON"):
        mixed(["bad.jsonl"])
