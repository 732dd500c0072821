"""Two ranks with their weights sharded must end with a checkpoint that has the loss they last had."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from posttrain.model.load import load_model
from posttrain.model.resolve import resolve
from posttrain.model.tokenizer import load_tokenizer
from posttrain.recipe.schema import Model

WORKER = Path(__file__).with_name("zero3_worker.py")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def train_on_two_ranks(name: str, run: Path, model: dict) -> None:
    run.mkdir()
    shared = {
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(WORKER.parents[2]),
    }
    command = [sys.executable, str(WORKER), name, str(run), json.dumps(model)]
    ranks = [subprocess.Popen(command, env={**os.environ, **shared, "RANK": rank, "LOCAL_RANK": rank}) for rank in "01"]
    assert [rank.wait() for rank in ranks] == [0, 0]


def loss_of(model, ids: list[int]) -> float:
    batch = torch.tensor([ids])
    model.eval()
    with torch.no_grad():
        return float(model(input_ids=batch, labels=batch).loss)


@pytest.mark.slow
@pytest.mark.parametrize("model", [{}, {"lora": {"r": 4}}, {"lora": {"r": 4}, "save": "adapter"}])
def test_sharded_weights_are_saved_whole(tmp_path, model):
    from transformers import AutoModelForCausalLM

    run = tmp_path / "run"
    train_on_two_ranks("builtin:tiny", run, model)
    seen = json.loads((run / "loss.json").read_text())
    loaded = AutoModelForCausalLM.from_pretrained(run / "final")
    assert loss_of(loaded, seen["ids"]) == pytest.approx(seen["loss"], abs=1e-4)
    assert not [file.name for file in (run / "final").iterdir() if file.suffix in (".bin", ".pt")]


@pytest.mark.slow
def test_an_adapter_parent_is_merged_before_it_is_sharded(tmp_path):
    train_on_two_ranks("builtin:tiny", tmp_path / "one", {"lora": {"r": 4}})
    train_on_two_ranks(str(tmp_path / "one" / "adapter"), tmp_path / "two", {"lora": {"r": 4}})
    seen = json.loads((tmp_path / "two" / "loss.json").read_text())
    parent = resolve(str(tmp_path / "two" / "adapter"))
    settings = Model(dtype="float32")
    model = load_model(parent, settings, load_tokenizer(parent, settings))
    assert len(parent.adapters) == 2
    assert loss_of(model, seen["ids"]) == pytest.approx(seen["loss"], abs=1e-4)
    assert seen["loss"] < json.loads((tmp_path / "one" / "loss.json").read_text())["loss"]
