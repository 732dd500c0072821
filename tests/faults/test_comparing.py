"""Whatever the script must find is found: each part of a run is changed a little, and that alone is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from killing.compare import checkpoints, contents, differences
from safetensors.torch import load_file, save_file


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    """Two equal runs."""
    run = tmp_path / "whole"
    for step in (10, 12):
        checkpoint = run / "checkpoints" / f"checkpoint-{step}"
        checkpoint.mkdir(parents=True)
        (checkpoint / "optimizer.pt").write_bytes(bytes(200_000))
        (checkpoint / "trainer_state.json").write_text("{}" * step)
        (checkpoint / f"step{step}").mkdir()
        (checkpoint / f"step{step}" / "rank-0").write_text("0")
    (run / "final").mkdir()
    save_file({"w": torch.arange(6, dtype=torch.float32)}, run / "final" / "model.safetensors")
    rows = [{"step": step, "loss": 1 / step, "seconds": step} for step in (1, 2, 3)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (run / "run.json").write_text(json.dumps({"steps": 3, "finished": "now", "metrics": {"dev": {"loss": 1}}}))
    (run / "recipe.yaml").write_text("stage: sft\n")
    (run / "final" / "manifest.json").write_text('{"files": {"lineage.json": {"sha256": "now"}}}')
    (run / "samples").mkdir()
    shutil.copytree(run, tmp_path / "cut")
    return run, tmp_path / "cut"


def test_equal_runs_differ_in_times_alone(runs: tuple[Path, Path]) -> None:
    whole, cut = runs
    assert differences(whole, cut) == []
    text = (cut / "metrics.jsonl").read_text()
    (cut / "metrics.jsonl").write_text(text.replace('"seconds": 2', '"seconds": 9'))
    for name in ("run.json", "final/manifest.json"):
        (cut / name).write_text((cut / name).read_text().replace("now", "later"))
    assert differences(whole, cut) == []


def drop_a_row(run: Path) -> None:
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text(lines[0] + lines[2])


def repeat_a_row(run: Path) -> None:
    text = (run / "metrics.jsonl").read_text()
    (run / "metrics.jsonl").write_text(text + text.splitlines(keepends=True)[-1])


def replace(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        text = (run / name).read_text()
        assert old in text
        (run / name).write_text(text.replace(old, new))

    return change


def nudge(by: float) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        tensors = load_file(run / "final" / "model.safetensors")
        tensors["w"][0] += by
        save_file(tensors, run / "final" / "model.safetensors")

    return change


CHANGES = {
    "a row left out": (drop_a_row, "metrics.jsonl: 3 entries uninterrupted, 2 killed (steps [1, 2, 3] and [1, 3])"),
    "a row twice": (
        repeat_a_row,
        "metrics.jsonl: 3 entries uninterrupted, 4 killed (steps [1, 2, 3] and [1, 2, 3, 3])",
    ),
    "a loss": (replace("metrics.jsonl", "0.5", "0.25"), "metrics.jsonl[1] loss: 0.5 uninterrupted, 0.25 killed"),
    "a kind": (replace("run.json", '"steps": 3', '"steps": 3.0'), "run.json steps: 3 uninterrupted, 3.0 killed"),
    "a deep figure": (replace("run.json", "1}", "2}"), "run.json metrics dev loss: 1 uninterrupted, 2 killed"),
    "a key": (replace("run.json", '"steps"', '"Steps"'), "run.json Steps: only in the killed run"),
    "the last bit": (nudge(1e-8), "final/model.safetensors: weights differ by up to 1e-08"),
    "a text": (replace("recipe.yaml", "sft", "dpo"), "recipe.yaml: other bytes"),
    "a file more": (lambda run: (run / "final.partial").write_text(""), "final.partial: only in the killed run"),
    "a folder more": (lambda run: (run / "final.partial").mkdir(), "final.partial: only in the killed run"),
    "a file less": (
        lambda run: (run / "checkpoints/checkpoint-10/optimizer.pt").unlink(),
        "checkpoints/checkpoint-10/optimizer.pt: only in the uninterrupted run",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_named(runs: tuple[Path, Path], name: str) -> None:
    whole, cut = runs
    change, message = CHANGES[name]
    change(cut)
    assert differences(whole, cut)[0] == message


def test_a_tolerance_holds_for_weights_and_figures(runs: tuple[Path, Path]) -> None:
    whole, cut = runs
    nudge(5e-6)(cut)
    replace("metrics.jsonl", "0.5", "0.500001")(cut)
    assert differences(whole, cut, within=1e-5) == []
    nudge(1e-5)(cut)
    replace("metrics.jsonl", "0.500001", "0.5001")(cut)
    assert [line.split()[0] for line in differences(whole, cut, within=1e-5)] == [
        "final/model.safetensors:",
        "metrics.jsonl[1]",
    ]


def test_whole_checkpoints_are_told_from_others(runs: tuple[Path, Path]) -> None:
    """Names hold the step and small files grow, which is no difference; a file too few, or cut short, is."""
    run = runs[0]
    whole = contents(run / "checkpoints" / "checkpoint-12")
    assert whole == {"optimizer.pt": 200_000, "trainer_state.json": 0, "stepSTEP/rank-0": 0}
    assert checkpoints(run, whole) == ([10, 12], [])
    (run / "checkpoints" / "checkpoint-12" / "optimizer.pt").write_bytes(bytes(150_000))
    (run / "checkpoints" / ".partial" / "checkpoint-14").mkdir(parents=True)
    (run / "checkpoints" / ".partial" / "checkpoint-14" / "trainer_state.json").write_text("{")
    (run / "checkpoints" / "README.md").write_text("not a checkpoint")
    (run / "final.partial").mkdir()
    (run / "run.json").unlink()
    assert checkpoints(run, whole) == (
        [10],
        [
            "checkpoints/.partial (1 of 3 files)",
            "checkpoints/checkpoint-12 (3 of 3 files)",
            "final.partial",
            "final/ without run.json",
        ],
    )
