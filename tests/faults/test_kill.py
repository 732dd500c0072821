"""Runs that are killed: a few of the kills that kill.py injects by the dozen, and the launcher of two ranks."""

from __future__ import annotations

import random
import subprocess
import time
from pathlib import Path

import pytest
from killing import processes
from killing.attempts import WITHIN_SECONDS, start
from killing.chain import Kill, run_chain, uninterrupted
from killing.job import Job, command, environment, write_recipe
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


def test_ranks_end_with_their_launcher(tmp_path: Path) -> None:
    """The command that started two ranks is killed while they train: they save and end, and the next start goes on."""
    job = Job("sft", processes=2, set=("train.max_steps=4000",))
    write_recipe(job, tmp_path / "run")
    with (tmp_path / "log").open("wb") as log:
        child = subprocess.Popen(
            command(job), cwd=tmp_path / "run", env=environment(tmp_path, "launcher"), stdout=log, stderr=log
        )
    try:
        deadline = time.monotonic() + 300
        while "step     3 train" not in (tmp_path / "log").read_text() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert sorted(map(str, processes.marked("launcher").values())) == ["0", "1", "None"]
        child.kill()
        child.wait()
        assert processes.seconds_until_gone("launcher", WITHIN_SECONDS) is not None
    finally:
        for pid in processes.marked("launcher"):
            processes.kill(pid)
    again = start(job, tmp_path / "run", "again", moment=Moment("train"), lengths={"train": 0.0})
    assert again.resumed_from is not None and again.resumed_from >= 3
