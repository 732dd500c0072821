"""When to kill: drawn by a seed, over all phases; and phases are recognised by what a run shows."""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path

import pytest
from killing.moments import PHASES, Moment, Watch, draw_moments, phase_lengths


def test_moments_are_the_seeds_and_cover_every_phase() -> None:
    drawn, again, others = (draw_moments(20, random.Random(seed)) for seed in (3, 3, 4))
    assert drawn == again != others
    counts = Counter(moment.phase for moment in drawn)
    assert set(counts) == set(PHASES)
    assert counts["save"] >= 4 and counts["final"] >= 2
    assert len(draw_moments(3, random.Random(0))) == 3


class Stage:
    """A run directory and a log as a stage makes them, a step of it at a time."""

    def __init__(self, folder: Path) -> None:
        self.run, self.log = folder / "run", folder / "log"
        (self.run / "checkpoints").mkdir(parents=True)
        self.log.touch()
        self.watch = Watch(self.run, self.log)

    def say(self, text: str) -> None:
        with self.log.open("a") as file:
            file.write(text + "\n")
        time.sleep(0.01)
        self.watch.look()

    def make(self, name: str) -> None:
        (self.run / name).mkdir(parents=True) if "." not in name else (self.run / name).write_text("0")
        time.sleep(0.01)
        self.watch.look()


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """A stage that has trained one step, looked twice and saved once; the final save has begun."""
    stage = Stage(tmp_path)
    for line in ("train: rows.jsonl: 400 rows of chat", "loading builtin:tiny", "memory: about 0.4 GB"):
        stage.say(line)
    for line in ("step     0 dev   loss 1", "step     3 train loss 1", "step     3 dev   loss 1"):
        stage.say(line)
    stage.make("checkpoints/checkpoint-3")
    stage.make("checkpoints/checkpoint-3/a.json")
    stage.say("step     4 train loss 1")
    stage.make("final")
    return stage


def test_phases_are_seen(stage: Stage) -> None:
    began = stage.watch.began
    assert {phase: len(times) for phase, times in began.items()} == dict.fromkeys(PHASES, 1) | {"train": 2}
    order = ("start", "imports", "data", "before", "train", "look", "save", "final")
    assert sorted(order, key=lambda phase: (began[phase][0], order.index(phase))) == list(order)
    lengths = phase_lengths(stage.watch, began["final"][0] + 1.5)
    assert lengths["final"] == pytest.approx(1.5)
    assert all(0.005 < lengths[phase] < 1 for phase in PHASES if phase != "final")


def test_a_moment_comes_when_its_share_of_the_phase_is_over(stage: Stage) -> None:
    def has_come(moment: Moment, **lengths: float) -> bool:
        return stage.watch.has_come(moment, lengths)

    assert has_come(Moment("save", 1, 0.5), save=0.002)
    assert not has_come(Moment("save", 1, 0.5), save=100)
    assert not has_come(Moment("save", 2, 0.0), save=0.002)
    assert has_come(Moment("train", 2, 0.5), train=0.002)


def test_what_lay_there_before_is_nothing_new(stage: Stage) -> None:
    """A start after a kill: neither the checkpoints nor the final/ of before begin a phase."""
    again = Watch(stage.run, stage.log.with_name("second"))
    again.log.touch()
    again.look()
    assert again.began["save"] == again.began["final"] == []
