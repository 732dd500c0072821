"""`data split`: groups whole, parts of their sizes, rows that stay where they were."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from posttrain.curation.groups import assign, groups_of
from posttrain.curation.split import parse_parts, report, split
from posttrain.data.load import load_data
from posttrain.data.read import read_rows
from posttrain.errors import UserError
from posttrain.recipe.schema import Data, Source

PARTS = {"train": 0.8, "dev": 0.1, "unseen": 0.1}


def digests(*values: int) -> np.ndarray:
    return np.array([bytes([value]) * 32 for value in values], dtype="V32")


def test_groups_are_the_connected_rows() -> None:
    # Rows 0, 1 share a prompt; 1, 3 share a user; 3, 4 share a prompt. 2 is alone, and so is 5.
    groups = groups_of(digests(1, 1, 2, 3, 3, 4), digests(10, 11, 12, 11, 13, 14))
    of_row = groups.of_row.tolist()
    assert len({of_row[0], of_row[1], of_row[3], of_row[4]}) == 1
    assert len(set(of_row)) == 3
    assert groups.keys[of_row[4]] == bytes([10]) * 32  # the least of its users
    assert len(groups_of(digests(1, 1, 2, 3, 3, 4)).keys) == 4


def test_groups_against_a_slow_search() -> None:
    rng = random.Random(0)
    for _ in range(50):
        prompts, users = ([rng.randrange(12) for _ in range(15)] for _ in range(2))
        groups = groups_of(digests(*prompts), digests(*users)).of_row.tolist()
        slow = list(range(15))
        for _ in range(15):  # the least label spreads to whatever a row is tied to
            for i in range(15):
                for j in range(15):
                    if prompts[i] == prompts[j] or users[i] == users[j]:
                        slow[i] = slow[j] = min(slow[i], slow[j])
        assert all((groups[i] == groups[j]) == (slow[i] == slow[j]) for i in range(15) for j in range(15))


def test_labels_are_shared_out_alike() -> None:
    labels = np.array([True] * 800 + [False] * 200)
    keys = np.array([index.to_bytes(32, "big") for index in range(1, 1001)], dtype="V32")
    _, part = assign(groups_of(keys), [0.9, 0.1], 0, labels)
    assert np.bincount(part).tolist() == [900, 100]
    assert np.bincount(part, labels).tolist() == [720, 80]


def write(path: Path, rows: list[dict[str, Any]]) -> Source:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Source(path=str(path))


def chats(count: int, first: int = 0) -> list[dict[str, Any]]:
    """`count` chats; every prompt is asked twice, each user has five."""
    return [
        {"prompt": f"What is {i // 2}?", "completion": str(i), "user": f"u{i // 5}"}
        for i in range(first, first + count)
    ]


def rows_of(folder: Path, *names: str) -> dict[str, list[dict[str, Any]]]:
    return {name: [row for row, _ in read_rows(str(folder / f"{name}.jsonl"))] for name in names or PARTS}


def test_prompts_and_users_stay_together(tmp_path: Path) -> None:
    rows = chats(1000)
    source = write(tmp_path / "in.jsonl", rows)
    done = split(source, "sft", tmp_path / "plain", PARTS)
    found = rows_of(tmp_path / "plain")
    assert sorted(json.dumps(row) for part in found.values() for row in part) == sorted(map(json.dumps, rows))
    prompts = [{row["prompt"] for row in part} for part in found.values()]
    assert not (prompts[0] & prompts[1] or prompts[0] & prompts[2] or prompts[1] & prompts[2])
    assert [(part.name, part.rows, part.groups) for part in done] == [
        ("train", 800, 400),
        ("dev", 100, 50),
        ("unseen", 100, 50),
    ]
    assert report(done)[1].split() == ["train", "800", "80.0%", "400"]

    split(source, "sft", tmp_path / "by", PARTS, by="user")
    found = rows_of(tmp_path / "by")
    for column in ("user", "prompt"):
        values = [{row[column] for row in part} for part in found.values()]
        assert not (values[0] & values[1] or values[0] & values[2] or values[1] & values[2])


def test_most_rows_stay_when_rows_are_added(tmp_path: Path) -> None:
    for by, name in ((None, "plain"), ("user", "by")):
        before, after = tmp_path / f"{name}1", tmp_path / f"{name}2"
        split(write(tmp_path / "a.jsonl", chats(1000)), "sft", before, PARTS, by=by)
        split(write(tmp_path / "b.jsonl", chats(100, 1000) + chats(1000)), "sft", after, PARTS, by=by)
        was = {row["completion"]: part for part, rows in rows_of(before).items() for row in rows}
        now = {row["completion"]: part for part, rows in rows_of(after).items() for row in rows}
        moved = sum(now[row] != part for row, part in was.items())
        assert moved <= 50  # of 1,000: a tenth more rows moves each border by less than a tenth of a part


def test_dev_is_what_a_recipe_holds_out(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", chats(200))
    split(source, "sft", tmp_path / "out", {"train": 0.9, "dev": 0.1}, seed=3)
    held = load_data(Data.model_validate({"train": [source], "dev": {"fraction": 0.1}}), "sft", seed=3)
    found = rows_of(tmp_path / "out", "train", "dev")
    assert {row["completion"] for row in found["dev"]} == {chat.messages[-1]["content"] for chat in held.dev}
    assert len(held.dev) == len(found["dev"]) == 20


def test_thumbs_are_balanced(tmp_path: Path) -> None:
    rows = [{"prompt": f"{i}?", "completion": "a", "label": i % 5 != 0} for i in range(200)]
    done = split(write(tmp_path / "in.jsonl", rows), "kto", tmp_path / "out", {"train": 0.9, "dev": 0.1})
    assert [(part.rows, part.up) for part in done] == [(180, 144), (20, 16)]
    assert report(done)[2].endswith("80.0%")


def test_a_part_that_would_be_empty_is_refused(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", chats(4))
    with pytest.raises(UserError, match=r"train would have no row: the 4 rows are 2 groups that share a prompt"):
        split(source, "sft", tmp_path / "out", {"train": 0.4, "dev": 0.3, "unseen": 0.3})
    with pytest.raises(UserError, match=r"no row has a value of usr"):
        split(source, "sft", tmp_path / "out", PARTS, by="usr")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["train", "train=0.9,dev=0.2", "train=1", "a/b=0.5,c=0.5", "a=0.5,a=0.5"])
def test_parts_that_are_none(text: str) -> None:
    with pytest.raises(UserError, match="--parts"):
        parse_parts(text)


def test_parts() -> None:
    assert parse_parts("train=0.9, dev=0.1") == {"train": 0.9, "dev": 0.1}


def test_real_thumbs(shared_data: Path, tmp_path: Path) -> None:
    source = Source(path=str(shared_data / "kto" / "llamafactory_kto_en_demo.jsonl.gz"))
    done = split(source, "kto", tmp_path / "out", PARTS, suffix=".jsonl.gz")
    assert [part.rows for part in done] == [240, 30, 30]
    assert len({part.up / part.rows for part in done if part.up}) == 1  # 150 of 300 are up
