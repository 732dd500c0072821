"""Rows that were prepared once, and rows that never are: the cache between runs and ranks, and streaming."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.chain.conftest import QUICKSTART

pytestmark = pytest.mark.slow


def entries(cache: Path, kind: str) -> dict[str, int]:
    """What is kept, each with when it was made."""
    return {path.name: (path / "about.json").stat().st_mtime_ns for path in (cache / kind).iterdir() if path.is_dir()}


def test_ranks_and_later_runs_find_the_rows_prepared(
    posttrain, recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSTTRAIN_CACHE", str(tmp_path / "cache"))
    ranked = recipe("sft", launch={"processes": 2})
    done = posttrain("sft", str(ranked))
    assert done.returncode == 0, done.stderr
    made = {kind: entries(tmp_path / "cache", kind) for kind in ("records", "tokens")}
    assert (len(made["records"]), len(made["tokens"])) == (1, 2)  # one source; train and dev
    alone = posttrain("sft", str(recipe("sft", "alone")), "--seed", "9")  # another order and another split
    assert alone.returncode == 0, alone.stderr
    assert entries(tmp_path / "cache", "records") == made["records"]
    again = posttrain("sft", str(recipe("sft", "again")))  # the first seed
    assert again.returncode == 0, again.stderr
    tokens = entries(tmp_path / "cache", "tokens")
    assert len(tokens) == 4 and tokens.items() >= made["tokens"].items()


def test_streamed_rows_train(posttrain, recipe, tmp_path: Path) -> None:
    data = {
        "train": [{"path": str(QUICKSTART / "data" / "sft.jsonl")}],
        "problems": [{"path": str(QUICKSTART / "data" / "dev.jsonl"), "limit": 6}],
        "streaming": True,
        "dev": None,
    }
    look = {"graders": [{"type": "number"}], "eval": {"samples": 1, "k": [1]}}
    done = posttrain("sft", str(recipe("sft", data=data, **look)))
    assert done.returncode == 0, done.stderr
    assert "streamed; looked at the first 1,000 rows" in done.stderr
    document = json.loads((tmp_path / "runs/sft/run.json").read_text())
    assert document["rows"] == {"train": None, "dev": 0, "problems": 6} and document["steps"] == 3
    losses = [json.loads(line).get("loss") for line in (tmp_path / "runs/sft/metrics.jsonl").read_text().splitlines()]
    assert all(0 < loss < 2 for loss in losses if loss is not None) and any(losses)
