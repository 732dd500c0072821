"""Rows of metrics.jsonl from the trainer's log calls."""

from __future__ import annotations

from pathlib import Path

from posttrain.runs.metrics import append_row, forget_after, metrics_row, read_rows


def test_train_and_dev_rows_carry_the_same_names() -> None:
    assert metrics_row({"loss": 0.5, "epoch": 0.1}, 3) == {
        "step": 3,
        "split": "train",
        "epoch": 0.1,
        "loss": 0.5,
    }
    dev = metrics_row({"eval_loss": 0.4, "eval_runtime": 2.0, "epoch": 0.1}, 3)
    assert dev == {"step": 3, "split": "dev", "epoch": 0.1, "loss": 0.4}


def test_the_trainers_closing_line_is_no_step() -> None:
    assert metrics_row({"train_runtime": 3.0, "train_loss": 0.4, "total_flos": 1.0, "epoch": 1}, 9) is None
    assert metrics_row({"train_runtime": 3.0, "entropy": 0.2}, 9) is None


def test_what_is_not_finite_is_null() -> None:
    row = metrics_row({"loss": float("nan"), "grad_norm": float("inf")}, 1)
    assert row is not None
    assert row["loss"] is None
    assert row["grad_norm"] is None


def test_a_resumed_run_forgets_the_steps_it_takes_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    for step in range(1, 6):
        append_row(path, {"step": step, "split": "train"})
    with path.open("a") as file:
        file.write('{"step": 6, "spl')  # cut off by a crash
    forget_after(path, 3)
    assert [row["step"] for row in read_rows(path)] == [1, 2, 3]
