"""What follows a run: the warning when there is nothing to learn, and the stop on a loss that is no number."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from posttrain.errors import UserError
from posttrain.stages.watch import MetricsWriter, NothingToLearn


def log(callback, **logs) -> None:
    callback.on_log(None, SimpleNamespace(global_step=7, is_world_process_zero=True), None, logs=logs)


def test_equal_rewards_are_said_once_and_only_in_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    watch = NothingToLearn()
    for share in (1.0, 1.0, 0.5, 1.0, 1.0):
        log(watch, **{"rollout/equal_rewards": share}, reward=0.0)
    assert capsys.readouterr().err == ""
    for _ in range(3):
        log(watch, **{"rollout/equal_rewards": 1.0}, reward=0.0)
    said = capsys.readouterr().err
    assert said.count("warning:") == 1
    assert "all wrong" in said
    assert "easier problems" in said


def test_a_loss_that_is_no_number_stops_the_run_and_is_kept(tmp_path) -> None:
    writer = MetricsWriter(tmp_path / "metrics.jsonl", started=0.0)
    log(writer, loss=0.5)
    with pytest.raises(UserError, match="nan at step 7"):
        log(writer, loss=float("nan"))
    assert (tmp_path / "metrics.jsonl").read_text().count("\n") == 2
