"""Runs that are killed: a few of the kills that kill.py injects by the dozen, and the launcher of two ranks."""

from __future__ import annotations

import random
import subprocess
import time
from pathlib import Path

import pytest
from killing import processes
from killing.attempts import start
from killing.chain import Kill, run_chain, uninterrupted
from killing.job import RUN, Job, command, environment, write_recipe
from killing.moments import Moment

pytestmark = pytest.mark.slow


def test_killed_while_training_saving_and_finishing(tmp_path: Path) -> None:
    """One run directory, killed in three places, ends as the run that nobody killed, to the last bit."""
    whole = uninterrupted(Job("sft"), tmp_path / "whole")
    moments = [Moment("train", 3), Moment("save", 1, 0.4), Moment("final", 1, 0.5)]
    kills: list[Kill] = []
    wrong: list[str] = []
    while moments:  # it may come to its end before a moment does; that is then the next run's
        more, found = run_chain(whole, len(kills), moments, random.Random(0), print)
        kills, wrong = kills + more, wrong + found
    assert wrong == []
    assert len(kills) == 3
    assert any(kill.whole for kill in kills)


def test_ranks_end_with_their_launcher_and_keep_others_out_until_then(tmp_path: Path) -> None:
    """The launcher is killed and the command started again at once: no two starts ever work in one directory."""
    job = Job("sft", processes=2, set=("train.max_steps=400",))
    write_recipe(job, tmp_path / "run")
    with (tmp_path / "log").open("wb") as log:
        child = subprocess.Popen(
            command(job), cwd=tmp_path / "run", env=environment(tmp_path, "first"), stdout=log, stderr=log
        )
    wait_for(lambda: "step     2 train" in (tmp_path / "log").read_text())
    child.kill()
    child.wait()
    assert len(processes.marked("first")) == 2
    refused = subprocess.run(
        command(job), cwd=tmp_path / "run", env=environment(tmp_path, "second"), capture_output=True, text=True
    )
    assert (refused.returncode, "another process is working in" in refused.stderr) == (2, True), refused.stderr
    seconds = processes.seconds_until_gone("first", 60)
    assert seconds is not None
    again = start(
        Job("sft", processes=2, set=("train.max_steps=400",)), tmp_path / "run", "again", moment=Moment("train")
    )
    assert again.resumed_from is not None
    assert (tmp_path / "run" / RUN / "checkpoints" / f"checkpoint-{again.resumed_from}").is_dir()


def wait_for(condition, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
