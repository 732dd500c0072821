"""Rows in TRL's shape, as `datasets` loads them and TRL takes them: nothing is lost on the way."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from posttrain.curation.convert import convert
from posttrain.data.read import read_rows
from posttrain.recipe.schema import Source


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "stage", "to"),
    [
        ("sft/zava_sft_test.jsonl.gz", "sft", "trl"),
        ("sft/gpteacher_roleplay.jsonl.gz", "sft", "prompt_completion"),
        ("dpo/orca_dpo_openai_format.jsonl.gz", "dpo", "trl"),
        ("kto/llamafactory_kto_en_demo.jsonl.gz", "kto", "trl"),
        ("rft/countdown_train_100.jsonl", "rlvr", "trl"),
    ],
)
def test_trl_takes_the_rows(shared_data: Path, tmp_path: Path, file: str, stage: str, to: str) -> None:
    import datasets
    from trl.data_utils import is_conversational

    out = tmp_path / "out.jsonl"
    convert(Source(path=str(shared_data / file)), stage, to, out)
    loaded = datasets.load_dataset("json", data_files=str(out), split="train", cache_dir=str(tmp_path / "cache"))
    written = [row for row, _ in read_rows(str(out))]
    assert len(loaded) == len(written)
    for row, mine in zip(loaded, written, strict=True):
        assert is_conversational(row)
        assert {name: value for name, value in row.items() if value is not None} == mine
        if "tools" in row:
            assert isinstance(json.loads(row["tools"]), list)  # as TRL's trainers parse it
