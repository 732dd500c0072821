"""Streamed rows are the rows of the file, shuffled within a buffer, without those that are held out."""

from __future__ import annotations

import json
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import fsspec
import pytest

from posttrain.data import stream as streaming
from posttrain.data.load import Loaded, load_data
from posttrain.data.stream import Stream, stream_rows, token_rows
from posttrain.data.tokenize import tokenize_chats
from posttrain.errors import UserError, UserErrors
from posttrain.model.resolve import resolve
from posttrain.model.tokenizer import load_tokenizer
from posttrain.recipe.load import load_recipe
from posttrain.recipe.schema import Data, Model


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_tokenizer(resolve("builtin:tiny"), Model())


def chats(*numbers: int) -> list[dict[str, Any]]:
    return [{"prompt": f"q{n}", "completion": f"a{n}"} for n in numbers]


def write(path: Path, rows: list[Any]) -> str:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return str(path)


def load(**data: Any) -> Loaded:
    return load_data(Data(streaming=True, **data), "sft", seed=3, place=lambda key: f"sft.yaml {key}")


def streamed(**data: Any) -> Stream:
    found = load(**data).stream
    assert found is not None
    return found


def prompts(stream: Stream, counts: Counter[str] | None = None) -> list[str]:
    return [record.messages[0]["content"] for record in stream.records(Counter() if counts is None else counts)]  # type: ignore[union-attr]


def test_every_row_comes_once_a_pass_in_an_order_of_its_own(tmp_path: Path) -> None:
    sources = [
        {"path": write(tmp_path / "a.jsonl", chats(*range(40)))},
        {"path": write(tmp_path / "b.jsonl", chats(*range(40, 50)))},
    ]
    stream = streamed(train=sources)
    first = prompts(stream)
    assert sorted(first) == sorted(f"q{n}" for n in range(50))
    assert first != [f"q{n}" for n in range(50)] and first == prompts(stream)


def test_the_buffer_bounds_how_far_a_row_may_move(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "BUFFER_ROWS", 5)
    stream = streamed(train=[{"path": write(tmp_path / "a.jsonl", chats(*range(100)))}])
    order = [int(said[1:]) for said in prompts(stream)]
    assert sorted(order) == list(range(100)) and order != list(range(100))
    assert all(row <= place + 5 for place, row in enumerate(order))  # none comes before it has been read


def test_held_out_rows_are_left_out_and_counted(tmp_path: Path) -> None:
    train = write(tmp_path / "a.jsonl", chats(*range(10)))
    dev = write(tmp_path / "dev.jsonl", chats(3, 77))
    problems = write(tmp_path / "problems.jsonl", [{"question": "q5", "answer": "5"}])
    counts: Counter[str] = Counter()
    stream = streamed(train=[{"path": train}], dev=[{"path": dev}], problems=[{"path": problems}])
    assert sorted(prompts(stream, counts)) == ["q0", "q1", "q2", "q4", "q6", "q7", "q8", "q9"]
    assert counts == {"read": 10, "also held out": 2}


def test_the_token_rows_are_those_of_the_whole_set(tmp_path: Path, tokenizer: Any) -> None:
    stream = streamed(train=[{"path": write(tmp_path / "a.jsonl", chats(*range(20)))}])
    records = list(stream.records(Counter()))
    whole = [
        {name: row[name] for name in ("input_ids", "labels")}
        for row in tokenize_chats(records, tokenizer, max_length=64).rows  # type: ignore[arg-type]
    ]
    assert list(token_rows(stream, tokenizer, {"max_length": 64})) == whole
    dataset = stream_rows(stream, tokenizer, {"max_length": 64})
    rows = list(islice(dataset, 40))
    assert rows[:20] == whole == list(islice(dataset, 20))
    assert rows[20:] != whole and sorted(map(str, rows[20:])) == sorted(map(str, whole))  # then in another order


def test_a_bad_row_is_an_error_where_it_is_met_or_skipped(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [*chats(1, 2), "nothing", *chats(3)])
    with pytest.raises(UserError, match="not valid JSON") as raised:
        load(train=[{"path": path}])
    assert str(raised.value.where).endswith("a.jsonl:3")
    counts: Counter[str] = Counter()
    assert len(prompts(streamed(train=[{"path": path}], bad_rows="skip"), counts)) == 3
    assert counts == {"read": 3, "cannot be read": 1}


def test_nothing_to_train_on_is_an_error(tmp_path: Path, tokenizer: Any) -> None:
    path = write(tmp_path / "a.jsonl", [{"prompt": "q", "completion": ""}])
    with pytest.raises(UserError, match="none of the first rows can be used: 1 rows read, 1 an empty answer"):
        load(train=[{"path": path}])
    stream = streamed(train=[{"path": write(tmp_path / "b.jsonl", chats(1))}])
    with pytest.raises(UserError, match="no row is left to train on: 1 rows read, 1 had no trained token"):
        list(token_rows(stream, tokenizer, {"max_length": 1}))


def test_a_url_is_streamed_without_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTTRAIN_CACHE", str(tmp_path / "cache"))
    store = fsspec.filesystem("memory")
    store.pipe("/chats/a.jsonl", "".join(json.dumps(row) + "\n" for row in chats(1, 2, 3)).encode())
    assert sorted(prompts(streamed(train=[{"path": "memory://chats/*.jsonl"}]))) == ["q1", "q2", "q3"]
    assert not (tmp_path / "cache").exists()
    store.store.clear()


def test_the_digest_is_of_the_first_rows_and_the_sources(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", chats(1, 2))
    digest = load(train=[{"path": path}]).digest
    assert load(train=[{"path": path}]).digest == digest
    write(tmp_path / "a.jsonl", chats(1, 3))
    assert load(train=[{"path": path}]).digest != digest


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("stage: sft\ntrain: {learning_rate: 1e-5}", "set train.max_steps"),
        ("stage: dpo\ntrain: {max_steps: 5}", "only sft streams them"),
        ("stage: sft\ntrain: {max_steps: 5, packing: true}", "packs are made of all rows"),
    ],
)
def test_what_needs_the_whole_set_is_refused(lines: str, said: str, tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text(f"{lines}\nout: runs/a\ndata:\n  streaming: true\n  train: [{{path: a.jsonl}}]\n")
    with pytest.raises((UserError, UserErrors), match=said):
        load_recipe(recipe, stage=None)


def test_a_fraction_and_a_limit_are_refused(tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        "stage: sft\nout: runs/a\ntrain: {max_steps: 5}\n"
        "data:\n  streaming: true\n  dev: {fraction: 0.1}\n  train: [{path: a.jsonl, limit: 5}]\n"
    )
    with pytest.raises(UserErrors) as raised:
        load_recipe(recipe, stage=None)
    assert "data.dev" in str(raised.value) and "data.train[0]" in str(raised.value)
