"""Rows that must stay together: by prompt, by group, and by chains of both."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from random import Random

import pytest

from posttrain.data.load import load_data
from posttrain.data.split import hold_out, join_groups
from posttrain.errors import UserError
from posttrain.recipe.schema import Data


def key(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def test_rows_are_joined_through_prompts_and_groups() -> None:
    rows = [("a", "ann"), ("b", "ann"), ("b", "bob"), ("c", "bob"), ("d", "cid"), ("d", None), ("e", None), ("f", None)]
    joined = join_groups([key(prompt) for prompt, _ in rows], [group for _, group in rows])
    # ann and bob both asked b; cid and somebody unknown both asked d.
    assert joined == [min(map(key, "abc"))] * 4 + [key("d")] * 2 + [key("e"), key("f")]


def test_joining_equals_the_components_of_a_graph_and_not_their_order() -> None:
    rng = Random(5)
    rows = [(f"p{rng.randrange(300)}", rng.choice([None, f"u{rng.randrange(200)}"])) for _ in range(400)]
    joined = join_groups([key(prompt) for prompt, _ in rows], [group for _, group in rows])
    # Independently: labels spread along shared prompts and groups until none changes.
    label = list(range(len(rows)))
    changed = True
    while changed:
        changed = False
        for i, (prompt, group) in enumerate(rows):
            for j, (other, theirs) in enumerate(rows):
                if label[j] < label[i] and (prompt == other or (group is not None and group == theirs)):
                    label[i], changed = label[j], True
    pairs = set(zip(label, joined, strict=True))
    assert len(pairs) == len(set(label)) == len(set(joined))
    mixed = rng.sample(range(len(rows)), len(rows))
    again = join_groups([key(rows[i][0]) for i in mixed], [rows[i][1] for i in mixed])
    assert again == [joined[i] for i in mixed]


def test_a_long_chain_is_joined() -> None:
    count = 20_000
    prompts = [key(str(i // 2)) for i in range(count)]
    assert len(set(join_groups(prompts, [str((i + 1) // 2) for i in range(count)]))) == 1


def test_a_key_with_many_rows_stays_in_training() -> None:
    keys = [key("hello")] * 60 + [key(str(i)) for i in range(40)]
    for seed in range(20):
        held = hold_out(keys, 0.1, seed)
        assert not any(held[:60])
        assert sum(held) == 10


def test_of_large_keys_the_smallest_is_held_out() -> None:
    held = hold_out([key("a")] * 5 + [key("b")] * 4, 0.1, 1)
    assert held == [False] * 5 + [True] * 4
    with pytest.raises(UserError, match="cannot be held out"):
        hold_out(join_groups([key("a"), key("b")], ["one", "one"]), 0.5, 1)


def write(path: Path, users: list[str | None]) -> str:
    rows = [
        {"prompt": f"question {i}", "completion": "yes", "label": i % 2 == 0, **({"user": user} if user else {})}
        for i, user in enumerate(users)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_a_recipe_holds_out_whole_users(tmp_path: Path) -> None:
    users: list[str | None] = [f"user {i % 20}" for i in range(200)]
    path = write(tmp_path / "kto.jsonl", users)
    data = Data.model_validate({"train": [{"path": path}], "dev": {"fraction": 0.1, "by": "user"}})
    loaded = load_data(data, "kto", seed=1)
    sides = [
        {users[int(record.prompt[0]["content"].split()[1])] for record in side} for side in (loaded.train, loaded.dev)
    ]
    assert [len(side) for side in sides] == [18, 2]
    assert not sides[0] & sides[1]
    assert "dev: held out 20 of 200 training rows, by user" in loaded.notes


def test_a_column_that_no_row_has_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "kto.jsonl", [None] * 10)
    data = Data.model_validate({"train": [{"path": path}], "dev": {"fraction": 0.1, "by": "customer"}})
    with pytest.raises(UserError, match="no training row has a column 'customer'"):
        load_data(data, "kto", seed=1)
