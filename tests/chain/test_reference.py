"""The reference's log-probabilities as several processes share them out: each row once, and the same numbers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.chain.conftest import QUICKSTART, ROWS
from tests.chain.test_zero import WAYS, train_losses

pytestmark = pytest.mark.slow


def kept(cache: Path) -> dict[bytes, float]:
    """The numbers that a cache has kept under their keys."""
    rows = np.concatenate([np.load(path) for path in (cache / "reference").glob("*/*.npy")])
    assert len(np.unique(rows["key"])) == len(rows)  # no rank did what another had done
    return dict(zip(rows["key"].tolist(), rows["value"].tolist(), strict=True))


@pytest.mark.parametrize("stage", ["dpo", "kto"])
def test_ranks_compute_what_one_process_does(posttrain, recipe, tmp_path: Path, monkeypatch, stage: str) -> None:
    found, losses = {}, {}
    for way, (processes, zero) in WAYS.items() if stage == "dpo" else (("one", (1, 0)), ("two-ddp", (2, 0))):
        monkeypatch.setenv("POSTTRAIN_CACHE", str(tmp_path / way))
        batch = {"max_steps": 1, "per_device_train_batch_size": 8 // processes, "precompute_ref_log_probs": True}
        batch |= {"loss_type": "apo_zero_unpaired"} if stage == "kto" else {}  # else the pairs are of the batch size
        source = {"path": str(QUICKSTART / "data" / f"{ROWS[stage]}.jsonl"), "limit": 30}
        path = recipe(
            stage,
            way,
            train=batch,
            launch={"processes": processes, "zero": zero},
            data={"train": [source], "dev": None},
        )
        done = posttrain(stage, str(path))
        assert done.returncode == 0, done.stderr
        assert "30 of 30 train rows, once" in done.stderr
        found[way], losses[way] = kept(tmp_path / way), train_losses(tmp_path / "runs" / way)
    assert len(found["one"]) == (60 if stage == "dpo" else 30)
    for way, values in found.items():
        assert values == pytest.approx(found["one"], abs=1e-4), way
        assert losses[way] == pytest.approx(losses["one"], abs=1e-5), way


def test_a_resumed_run_has_the_reference_it_began_with(posttrain, recipe, tmp_path: Path, monkeypatch) -> None:
    """The policy has moved by then: what is computed anew must still be of the parent."""
    whole = {"max_steps": 4, "learning_rate": 1e-2, "precompute_ref_log_probs": True, "save_total_limit": 9}
    monkeypatch.setenv("POSTTRAIN_CACHE", str(tmp_path / "whole"))
    done = posttrain("dpo", str(recipe("dpo", train=whole, eval={"every": 2})))
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs" / "dpo"
    losses = train_losses(run)
    (run / "run.json").unlink()
    last = max((run / "checkpoints").glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    last.rename(tmp_path / "last")
    monkeypatch.setenv("POSTTRAIN_CACHE", str(tmp_path / "empty"))
    done = posttrain("dpo", str(tmp_path / "dpo.yaml"))
    assert done.returncode == 0, done.stderr
    assert "resuming from step 2" in done.stderr and "train rows, once" in done.stderr
    assert train_losses(run) == pytest.approx(losses, abs=1e-5)
    assert abs(json.loads((run / "run.json").read_text())["metrics"]["train"]["rewards/margins"]) > 1e-3
    assert kept(tmp_path / "empty") == pytest.approx(kept(tmp_path / "whole"), abs=1e-4)
