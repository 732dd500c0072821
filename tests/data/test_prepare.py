"""Token rows on disk are those of the tokenize functions, in the order of the records, whoever made them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from posttrain.data import chunks, prepare, workers
from posttrain.data.load import load_data
from posttrain.data.prepare import prepare_rows, tokenizer_digest
from posttrain.data.tokenize import OF_STAGE
from posttrain.data.view import Records
from posttrain.errors import UserError
from posttrain.model.resolve import resolve
from posttrain.model.tokenizer import load_tokenizer
from posttrain.recipe.schema import Data, Model

ROWS: dict[str, Any] = {
    "sft": lambda n: {"prompt": f"question {n}", "completion": f"answer {n} " * (n % 5 + 1)},
    "dpo": lambda n: {"prompt": f"question {n}", "chosen": f"good {n}", "rejected": f"bad {n}"},
    "kto": lambda n: {"prompt": f"question {n}", "completion": f"answer {n}", "label": n % 3 == 0},
    "rlvr": lambda n: {"prompt": f"question {n}", "answer": f"{n}"},
}


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_tokenizer(resolve("builtin:tiny"), Model())


def load(tmp_path: Path, stage: str, count: int = 40, **source: Any) -> Records:
    path = tmp_path / f"{stage}.jsonl"
    path.write_text("".join(json.dumps(ROWS[stage](n)) + "\n" for n in range(count)))
    records = load_data(Data(train=[{"path": str(path), **source}]), stage, seed=5, parts=("train",)).train
    assert isinstance(records, Records)
    return records


def settings(stage: str, length: int | None) -> dict[str, Any]:
    return {"max_prompt_tokens" if stage == "rlvr" else "max_length": length}


@pytest.mark.parametrize("stage", ROWS)
def test_rows_are_those_of_the_tokenize_functions(stage: str, tmp_path: Path, tokenizer: Any) -> None:
    records = load(tmp_path, stage)
    prepared = prepare_rows(records, stage, tokenizer, settings(stage, None))
    whole = OF_STAGE[stage](list(records), tokenizer, **settings(stage, None))
    assert list(prepared.dataset) == [{k: v for k, v in row.items() if k != "index"} for row in whole.rows]
    assert prepared.record_of.tolist() == list(range(40))
    assert prepared.summary == whole.summary == "kept 40 of 40"


def test_a_split_record_has_several_rows_in_the_order_of_the_records(tmp_path: Path, tokenizer: Any) -> None:
    records, split = load(tmp_path, "sft"), {"max_length": 20, "too_long": "split"}
    prepared = prepare_rows(records, "sft", tokenizer, split)
    whole = OF_STAGE["sft"](list(records), tokenizer, **split)
    assert [row["labels"] for row in prepared.dataset] == [row["labels"] for row in whole.rows]
    assert prepared.record_of.tolist() == [row["index"] for row in whole.rows]
    assert prepared.summary == whole.summary
    assert whole.split > 0 and len(prepared.record_of) == 40 - whole.split + whole.pieces


@pytest.mark.slow
def test_several_processes_make_the_same_rows(tmp_path: Path, tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 600)
    monkeypatch.setattr(workers, "cores", lambda: 1)
    monkeypatch.setenv("POSTTRAIN_CACHE", str(tmp_path / "one"))
    alone = prepare_rows(load(tmp_path, "sft"), "sft", tokenizer, {"max_length": 30})
    monkeypatch.setenv("POSTTRAIN_CACHE", str(tmp_path / "two"))
    monkeypatch.setattr(workers, "cores", lambda: 2)
    monkeypatch.setattr(prepare, "_BATCHES_ALONE", 1)
    shared = prepare_rows(load(tmp_path, "sft"), "sft", tokenizer, {"max_length": 30})
    assert list(alone.dataset) == list(shared.dataset) and alone.summary == shared.summary
    assert "truncated" in alone.summary


def test_dropped_records_leave_no_gap_and_copies_repeat(tmp_path: Path, tokenizer: Any) -> None:
    records = load(tmp_path, "dpo", weight=2.5)
    whole = OF_STAGE["dpo"](list(records), tokenizer, max_length=None)
    lengths = [len(row["prompt_ids"]) for row in whole.rows]
    limit = sorted(lengths)[len(lengths) // 2]
    expected = OF_STAGE["dpo"](list(records), tokenizer, max_length=limit)
    prepared = prepare_rows(records, "dpo", tokenizer, {"max_length": limit})
    assert 0 < len(prepared.dataset) < 100
    assert list(prepared.dataset) == [{k: v for k, v in row.items() if k != "index"} for row in expected.rows]
    assert prepared.record_of.tolist() == [row["index"] for row in expected.rows]
    assert prepared.summary.endswith("; with copies, 100 of 40 different rows")


def test_another_order_or_share_of_the_same_rows_is_found(
    tmp_path: Path, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = load(tmp_path, "sft")
    first = prepare_rows(records, "sft", tokenizer, {"max_length": None})

    def refuse(*_: Any) -> None:
        raise AssertionError("tokenized again")

    monkeypatch.setattr(prepare, "_tokenize", refuse)
    turned = prepare_rows(records.take(np.arange(40)[::-1]), "sft", tokenizer, {"max_length": None})
    assert list(turned.dataset) == list(first.dataset)[::-1]
    for changed in ({"max_length": 7}, {"max_length": None, "extra": 1}):
        with pytest.raises(AssertionError):
            prepare_rows(records, "sft", tokenizer, changed)
    with pytest.raises(AssertionError):
        prepare_rows(records.take([1, 2]), "sft", tokenizer, {"max_length": None})


def test_another_template_or_token_is_another_tokenizer() -> None:
    def digest(change: Any = None) -> str:
        made = load_tokenizer(resolve("builtin:tiny"), Model())
        if change:
            change(made)
        return tokenizer_digest(made)

    assert digest() == digest()
    assert digest(lambda made: setattr(made, "chat_template", made.chat_template + " ")) != digest()
    assert digest(lambda made: made.add_tokens(["<new>"])) != digest()


def test_nothing_left_is_an_error_each_time(tmp_path: Path, tokenizer: Any) -> None:
    records = load(tmp_path, "sft")
    for _ in range(2):
        with pytest.raises(UserError, match="no row is left to train on: kept 0 of 40: 40 had no trained token"):
            prepare_rows(records, "sft", tokenizer, {"max_length": 2})
