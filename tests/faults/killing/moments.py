"""When to kill: phases of a run, told from outside by what it prints and by the files that appear.

start     from the command on, while rows are read
imports   from the rows on, while torch and TRL are imported
data      from "loading MODEL" on, while rows are tokenized and the model is loaded
before    from "memory" on: the trainer, the reference's log-probabilities, the signal, the first look
train     from a step's line on, until the next line
look      from the line of a step that a look follows, until the look's line
save      from the moment something new lies in checkpoints/, for as long as a save takes
final     from the moment final/ or adapter/ or what becomes them appears, until the process ends
"""

from __future__ import annotations

import os
import random
import re
import statistics
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from killing.job import LOOK_EVERY

PHASES = ("start", "imports", "data", "before", "train", "look", "save", "final")
_WEIGHTS = {"save": 4, "final": 2}
_COUNTED = {"train": 6, "save": 3, "look": 3}
"""The phases that come more than once, and up to which of them, counted from where an attempt begins, may be meant."""

_LINES = {
    "imports": re.compile(r" rows of "),
    "data": re.compile(r"^loading ", re.M),
    "before": re.compile(r"^memory: ", re.M),
}
_STEP = re.compile(r"^step +(\d+) (train|dev) ", re.M)


@dataclass(frozen=True)
class Moment:
    """The `nth` time of a phase within one attempt, and the share of the phase's length to wait from there."""

    phase: str
    nth: int = 1
    share: float = 0.5

    def __str__(self) -> str:
        return f"{self.phase}{f' {self.nth}' if self.phase in _COUNTED else ''} +{self.share:.0%}"


def draw_moments(kills: int, draw: random.Random) -> list[Moment]:
    """Return the moments of `kills` kills: every phase in turn, saving more often, in random order."""
    turn = [phase for phase in PHASES for _ in range(_WEIGHTS.get(phase, 1))]
    phases = [turn[number % len(turn)] for number in range(kills)]
    if kills < len(turn):
        phases = draw.sample(turn, kills)
    draw.shuffle(phases)
    return [Moment(phase, draw.randint(1, _COUNTED.get(phase, 1)), draw.random()) for phase in phases]


@dataclass
class Watch:
    """What is seen of one attempt, from its start on: call `look` again and again.

    `began` holds, for each phase, the seconds since the start at which it began each time; `ended` is what is known of
    when it was over.
    """

    run: Path
    log: Path
    started: float = field(default_factory=time.monotonic)
    began: dict[str, list[float]] = field(default_factory=lambda: {phase: [] for phase in PHASES})
    ended: dict[str, list[float]] = field(default_factory=lambda: {phase: [] for phase in PHASES})

    def __post_init__(self) -> None:
        self.began["start"].append(0.0)
        self._text, self._read, self._steps = "", 0, 0
        self._entries = self._saved()
        self._before_final = self._final()
        self._saving = False

    def look(self) -> float:
        """Take in what is new; return the seconds since the start."""
        now = time.monotonic() - self.started
        self._look_at_log(now)
        entries = self._saved()
        if entries - self._entries and not self._saving:
            self._saving = True
            self.began["save"].append(now)
            self.ended["save"].append(now)
        if entries != self._entries and self._saving:
            self.ended["save"][-1] = now  # removing an older one belongs to it
        self._entries = entries
        if not self.began["final"] and self._final() - self._before_final:
            self.began["final"].append(now)
        return now

    def _look_at_log(self, now: float) -> None:
        with self.log.open("rb") as file:
            file.seek(self._read)
            new = file.read()
        if not new:
            return
        self._read += len(new)
        self._text += new.decode("utf-8", errors="replace")
        for phase, line in _LINES.items():
            if not self.began[phase] and line.search(self._text):
                self.began[phase].append(now)
        steps = _STEP.findall(self._text)
        for step, split in steps[self._steps :]:
            self._saving = False
            for phase in ("train", "look"):
                if len(self.ended[phase]) < len(self.began[phase]):
                    self.ended[phase].append(now)
            if split == "train":
                self.began["train"].append(now)
                if int(step) % LOOK_EVERY == 0:
                    self.began["look"].append(now)
        if steps and not self._steps:
            self.ended["before"].append(now)
        self._steps = len(steps)

    def _saved(self) -> set[tuple[str, int]]:
        """The files in checkpoints/ with their sizes, and the directories: a file that grows is new."""
        found = set()
        for folder, folders, files in os.walk(self.run / "checkpoints"):  # skips what is gone meanwhile
            found |= {(os.path.join(folder, name), 0) for name in folders}
            for name in files:
                path = os.path.join(folder, name)
                with suppress(FileNotFoundError):
                    found.add((path, os.stat(path).st_size))
        return found

    def _final(self) -> set[tuple[str, int]]:
        found = set()
        for path in (*self.run.glob("final*"), *self.run.glob("adapter*")):
            with suppress(FileNotFoundError):
                found.add((path.name, path.stat().st_mtime_ns))
        return found

    def has_come(self, moment: Moment, lengths: dict[str, float]) -> bool:
        """Tell whether it is time, as of the last look."""
        began = self.began[moment.phase]
        if len(began) < moment.nth:
            return False
        wait = moment.share * lengths[moment.phase]
        return time.monotonic() - self.started >= began[moment.nth - 1] + wait


def phase_lengths(watch: Watch, ended: float) -> dict[str, float]:
    """Return the seconds that each phase took in an attempt that was watched to its end."""
    first = {phase: times[0] for phase, times in watch.began.items() if times}

    def each(phase: str) -> float:
        pairs = zip(watch.began[phase], watch.ended[phase], strict=False)
        return statistics.median([end - begin for begin, end in pairs] or [0.0])

    return {
        "start": first["imports"],
        "imports": first["data"] - first["imports"],
        "data": first["before"] - first["data"],
        "before": watch.ended["before"][0] - first["before"],
        "train": each("train"),
        "look": each("look"),
        "save": each("save"),
        "final": ended - first["final"],
    }
