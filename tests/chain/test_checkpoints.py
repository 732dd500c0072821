"""A run whose checkpoints are damaged, or cannot be written, or that goes on with other processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from posttrain.runs import checkpoints, whole
from tests.chain.conftest import COMMAND, environment

pytestmark = pytest.mark.slow

TIMES = ("seconds", "step_time")
SHORT = {"max_steps": 6, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}


def rows_of(run: Path) -> list[dict]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name not in TIMES} for row in rows]


def weights_differ(left: Path, right: Path) -> float:
    from safetensors.torch import load_file

    one, two = (load_file(run / "final" / "model.safetensors") for run in (left, right))
    assert one.keys() == two.keys()
    return max((one[name] - two[name]).abs().max().item() for name in one)


def test_a_flipped_bit_is_noticed_and_the_checkpoint_before_is_used(posttrain, recipe, tmp_path: Path) -> None:
    lora = {"lora": {"r": 4, "alpha": 8, "dropout": 0.1}}
    train = SHORT | {"logging_steps": 4}  # so that sums are carried over a checkpoint
    path = recipe("sft", model=lora, train=train, eval={"every": 2, "best_by": "loss"})
    assert posttrain("sft", str(path)).returncode == 0
    uncut, run = tmp_path / "uncut", tmp_path / "runs" / "sft"
    shutil.copytree(run, uncut)
    (run / "run.json").unlink()  # as if it had been killed while it wrote final/
    states = run / "checkpoints" / "checkpoint-6" / "optimizer.pt"
    content = bytearray(states.read_bytes())
    content[len(content) // 2] ^= 4
    states.write_bytes(content)
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "spl')
    done = posttrain("sft", str(path))
    assert done.returncode == 0, done.stderr
    assert "checkpoint-6 is not whole (optimizer.pt has changed since it was written)" in done.stderr
    assert "resuming from step 4" in done.stderr
    assert rows_of(run) == rows_of(uncut)
    assert weights_differ(run, uncut) == 0

    unknown = posttrain("sft", str(path), "--from", "3")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "there are: 4, 6" in unknown.stderr
    again = posttrain("sft", str(path), "--from", "6")  # nothing is left to train
    assert again.returncode == 0, again.stderr
    assert rows_of(run) == rows_of(uncut)
    assert weights_differ(run, uncut) == 0


@pytest.mark.parametrize("zero", [0, 2, 3])
def test_two_processes_then_one(posttrain, recipe, tmp_path: Path, zero: int) -> None:
    path = recipe(
        "sft", train=SHORT | {"learning_rate": 1e-4}, eval={"every": 2}, launch={"processes": 2, "zero": zero}
    )
    assert posttrain("sft", str(path)).returncode == 0
    uncut, run = tmp_path / "uncut", tmp_path / "runs" / "sft"
    shutil.copytree(run, uncut)
    one = posttrain("sft", str(path), "--from", "4", "--set", "launch.processes=1")
    assert one.returncode == 0, one.stderr
    assert [(row["step"], row["split"]) for row in rows_of(run)] == [
        (row["step"], row["split"]) for row in rows_of(uncut)
    ]
    assert [row["loss"] for row in rows_of(run)] == pytest.approx([row["loss"] for row in rows_of(uncut)], abs=1e-5)
    assert weights_differ(run, uncut) < 1e-5


@pytest.fixture
def small_disk(tmp_path: Path):
    """A file system of 200 MB of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200m", "none", str(place)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("file systems cannot be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize(
    ("left_pages", "said"), [(0, "the next checkpoint takes"), (1, "the disk is full: the checkpoint of step")]
)
def test_a_disk_that_fills_up_ends_the_run_with_the_last_checkpoint_whole(
    posttrain, recipe, small_disk: Path, left_pages: int, said: str
) -> None:
    """The disk is filled while the run stands still behind a checkpoint: so that the next does not fit by its size, or
    fits by its size but not by the pages that its files take."""
    run = small_disk / "run"
    path = recipe("sft", out=str(run), train=SHORT | {"max_steps": 40}, eval={"every": 2})
    process = subprocess.Popen(
        [*COMMAND, "sft", str(path)], cwd=path.parent, env=environment(), stderr=subprocess.PIPE, text=True
    )
    while checkpoints.newest(run) is None and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGSTOP)
    last = checkpoints.newest(run)
    assert last is not None
    room = whole.bytes_of(last) + left_pages * 4096 if left_pages else 4096 * 16
    with (small_disk / "filled").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(small_disk).free - room)
    process.send_signal(signal.SIGCONT)
    _, told = process.communicate(timeout=120)
    assert (process.returncode, told.count("error:")) == (2, 1), told
    assert said in told
    assert "Traceback" not in told
    last = checkpoints.newest(run)
    assert last is not None
    assert whole.why_not_whole(last) is None
    assert not (run / "checkpoints" / ".partial").exists()
    (small_disk / "filled").unlink()
    done = posttrain("sft", str(path))
    assert done.returncode == 0, done.stderr
    assert f"resuming from step {checkpoints.step_of(last)}" in done.stderr
    assert [row["step"] for row in rows_of(run) if row["split"] == "train"] == list(range(1, 41))


def test_a_run_that_the_disk_has_no_room_for_does_not_start(posttrain, recipe, small_disk: Path) -> None:
    with (small_disk / "filled").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(small_disk).free - 40_000_000)
    refused = posttrain("sft", str(recipe("sft", out=str(small_disk / "run"))))
    assert refused.returncode == 2
    assert "the run writes about" in refused.stderr
    assert refused.stderr.count("error:") == 1
