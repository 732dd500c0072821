"""One process, two under ZeRO-2, two under ZeRO-3: the same losses at every step, and a checkpoint that loads."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chain.conftest import environment

pytestmark = pytest.mark.slow

STEPS = 4
WAYS = {"one": (1, 0), "two-ddp": (2, 0), "two-zero-2": (2, 2), "two-zero-3": (2, 3)}


def train_losses(run: Path) -> list[float]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row["loss"] for row in rows if row["split"] == "train"]


@pytest.mark.parametrize(
    ("stage", "ways"),
    [("sft", ("one", "two-ddp", "two-zero-2", "two-zero-3")), ("dpo", ("one", "two-zero-2", "two-zero-3"))],
)
def test_sharding_changes_nothing(posttrain, recipe, tmp_path: Path, stage: str, ways: tuple[str, ...]) -> None:
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    weights = {}
    ways = [way for way in WAYS if stage == "sft" or way != "two-ddp"]
    for way in ways:
        processes, zero = WAYS[way]
        batch = {"max_steps": STEPS, "per_device_train_batch_size": 8 // processes, "learning_rate": 1e-4}
        path = recipe(stage, way, train=batch, launch={"processes": processes, "zero": zero}, eval={"every": 2})
        done = posttrain(stage, str(path))
        assert (done.returncode, done.stdout) == (0, f"runs/{way}/final\n"), done.stderr
        AutoModelForCausalLM.from_pretrained(tmp_path / "runs" / way / "final")
        weights[way] = load_file(tmp_path / "runs" / way / "final" / "model.safetensors")
        assert json.loads((tmp_path / "runs" / way / "run.json").read_text())["hardware"]["processes"] == processes

    expected = train_losses(tmp_path / "runs" / "one")
    assert len(expected) == STEPS
    if stage == "dpo":
        assert expected[0] == pytest.approx(math.log(2), abs=1e-5)
    for way in ways[1:]:
        assert train_losses(tmp_path / "runs" / way) == pytest.approx(expected, abs=1e-4), way
        assert weights[way].keys() == weights["one"].keys()
        assert max((weights[way][name] - weights["one"][name]).abs().max().item() for name in weights[way]) < 1e-4


def test_lora_under_zero_3(posttrain, recipe, tmp_path: Path) -> None:
    """Adapters on sharded weights: the losses of one process, and a merged plain model at the end."""
    for way in ("one", "two-zero-3"):
        processes, zero = WAYS[way]
        batch = {"max_steps": STEPS, "per_device_train_batch_size": 8 // processes, "learning_rate": 1e-3}
        lora = {"lora": {"r": 4, "alpha": 8}}
        path = recipe("sft", way, model=lora, train=batch, launch={"processes": processes, "zero": zero})
        done = posttrain("sft", str(path))
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "runs" / way / "final" / "model.safetensors").exists()
    assert train_losses(tmp_path / "runs/two-zero-3") == pytest.approx(train_losses(tmp_path / "runs/one"), abs=1e-4)


def test_a_reference_that_is_asked_at_each_step(posttrain, recipe, tmp_path: Path) -> None:
    """A second model, which under ZeRO is an engine of its own, says what it says in one process."""
    for way in ("one", "two-zero-2"):
        processes, zero = WAYS[way]
        batch = {"max_steps": 2, "per_device_train_batch_size": 8 // processes, "learning_rate": 1e-3}
        batch["precompute_ref_log_probs"] = False
        done = posttrain("dpo", str(recipe("dpo", way, train=batch, launch={"processes": processes, "zero": zero})))
        assert done.returncode == 0, done.stderr
        assert "padding" not in done.stderr
    assert train_losses(tmp_path / "runs/two-zero-2") == pytest.approx(train_losses(tmp_path / "runs/one"), abs=1e-4)


def test_a_ranks_error_is_the_runs_error(posttrain, recipe, tmp_path: Path) -> None:
    """What only a rank can find comes back as its one message, not as a launcher's traceback."""
    template = tmp_path / "template.jinja"
    template.write_text("{{ raise_exception('no') }}")
    path = recipe("sft", model={"chat_template": str(template)}, launch={"processes": 2})
    done = posttrain("sft", str(path))
    assert done.returncode == 2
    assert done.stderr.count("error:") == 1
    assert "chat_template" in done.stderr
    assert "Traceback" not in done.stderr


def test_under_torchrun_one_rank_prints_one_line(recipe, tmp_path: Path) -> None:
    """An environment that torchrun made is taken as it is; the second time nothing is left to do."""
    path = recipe("sft", launch={"zero": 2})
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    for _ in range(2):
        done = subprocess.run(
            [*launcher, "posttrain", "sft", str(path)], cwd=tmp_path, env=environment(), capture_output=True, text=True
        )
        assert (done.returncode, done.stdout) == (0, "runs/sft/final\n"), done.stderr
    assert "finished already" in done.stderr
    assert json.loads((tmp_path / "runs/sft/run.json").read_text())["hardware"]["processes"] == 2
