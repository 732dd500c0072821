"""Warnings before a run is lost: pure functions of the metrics so far, and what tells of them.

Each alarm of `recipe/alarms.py` has its figure here. It rings once, and again only after its figure got better. What
rang stands in RUN/alarms.jsonl.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from posttrain.errors import GateError
from posttrain.recipe.alarms import ALARMS, AlarmName
from posttrain.recipe.schema import Alarms, Recipe
from posttrain.runs import directory
from posttrain.runs.metrics import append_row, forget_after, metrics_row, read_rows
from posttrain.stages.terminal import say

FILE = "alarms.jsonl"
WINDOW = 5
"""Logged steps that are averaged, at first and now: a single step is a draw."""

Row = Mapping[str, Any]


@dataclass
class History:
    """The rows of metrics.jsonl so far, apart by split, in order."""

    train: list[Row] = field(default_factory=list)
    dev: list[Row] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    """Mean training reward of each window from the start that has one: a run may log a hundred thousand steps."""

    def add(self, row: Row) -> None:
        if row["split"] == "dev":
            self.dev.append(row)
            return
        self.train.append(row)
        if len(self.train) % WINDOW == 0 and (reward := mean(self.train[-WINDOW:], "reward")) is not None:
            self.rewards.append(reward)


Figure = Callable[[History], float | None]
"""What an alarm compares with its threshold; None where there is nothing to say yet."""


def mean(rows: Sequence[Row], name: str) -> float | None:
    """Return the mean of a metric over the rows that have it; None unless there are as many as a window."""
    values = [row[name] for row in rows if isinstance(row.get(name), int | float)]
    return math.fsum(values) / len(values) if len(values) >= WINDOW else None


def first(history: History, name: str) -> float | None:
    """Return a training metric at the beginning."""
    return mean(history.train[:WINDOW], name)


def now(history: History, name: str) -> float | None:
    """Return a training metric over the last steps."""
    return mean(history.train[-WINDOW:], name)


def recent(name: str) -> Figure:
    """The figure is the metric over the last steps."""
    return lambda history: now(history, name)


def doubled(name: str) -> Figure:
    """The figure is the metric over the last steps where that is at least twice what it was at first, else 0."""

    def figure(history: History) -> float | None:
        began, is_now = first(history, name), now(history, name)
        if began is None or is_now is None:
            return None
        return is_now if is_now >= 2 * began else 0.0

    return figure


def fallen_reward(history: History) -> float | None:
    """Return the reward over the last steps in terms of that of the best window before; infinity where none was
    above 0."""
    before = history.rewards if len(history.train) % WINDOW else history.rewards[:-1]  # without the one that is now
    best, is_now = max(before, default=None), now(history, "reward")
    if best is None or is_now is None:
        return None
    return is_now / best if best > 0 else math.inf


def fallen_entropy(history: History) -> float | None:
    """Return the entropy over the last steps where that is less than half of what it was at first; else infinity."""
    began, is_now = first(history, "entropy"), now(history, "entropy")
    if began is None or is_now is None:
        return None
    return is_now if is_now < began / 2 else math.inf


def longer_for_nothing(history: History) -> float | None:
    """Return the mean length in terms of that at first; 0 where the reward rose with it."""
    lengths = [at(history, "completions/mean_length") for at in (first, now)]
    rewards = [at(history, "reward") for at in (first, now)]
    if None in lengths or None in rewards or not lengths[0]:
        return None
    return lengths[1] / lengths[0] if rewards[1] <= rewards[0] else 0.0  # type: ignore[operator]  # not None


def reward_gap(history: History) -> float | None:
    """Return by how much training and held-out reward moved apart since the best earlier look, where the one rose and
    the other fell; else 0. The training reward at a look is that of the steps up to it, at step 0 of the first ones."""
    if len(history.dev) < 2:
        return None
    *earlier, last = history.dev
    best = max(earlier, key=lambda look: look.get("reward") or 0.0)
    train = [_up_to(history.train, look["step"], "reward") for look in (best, last)]
    dev = [look.get("reward") for look in (best, last)]
    if None in train or None in dev:
        return None
    rose, fell = train[1] - train[0], dev[0] - dev[1]  # type: ignore[operator]  # not None
    return rose + fell if rose > 0 and fell > 0 else 0.0


def falling_chosen(history: History) -> float | None:
    """Return rewards/chosen over the last steps where it fell from window to window over three of them; else 0.

    It is beta (log p - log p of the reference) of the chosen answers (arXiv 2305.18290, section 4), so that answers of
    other lengths do not pass for a fall, as in logps/chosen.
    """
    has_it = (row for row in reversed(history.train) if isinstance(row.get("rewards/chosen"), int | float))
    rows = list(islice(has_it, 3 * WINDOW))  # the last first
    windows = [mean(rows[n * WINDOW : (n + 1) * WINDOW], "rewards/chosen") for n in (2, 1, 0)]
    if None in windows:
        return None
    before, between, last = windows
    return last if last < between < before else 0.0  # type: ignore[operator]  # not None


def grown_loss(history: History) -> float | None:
    """Return the training loss over the last steps in terms of that at first."""
    began, is_now = first(history, "loss"), now(history, "loss")
    return is_now / began if began and began > 0 and is_now is not None else None


def dev_loss(history: History) -> float | None:
    """Return the held-out loss in terms of its best earlier look, where the training loss fell since; else 0."""
    looks = [look for look in history.dev if isinstance(look.get("loss"), int | float)]
    if len(looks) < 2:
        return None
    *earlier, last = looks
    best = min(earlier, key=lambda look: look["loss"])
    train = [_up_to(history.train, look["step"], "loss") for look in (best, last)]
    if None in train or best["loss"] <= 0:
        return None
    return last["loss"] / best["loss"] if train[1] < train[0] else 0.0  # type: ignore[operator]  # not None


def _up_to(rows: Sequence[Row], step: int, name: str) -> float | None:
    past = [row for row in rows if row["step"] <= step][-WINDOW:]
    return mean(past if len(past) == WINDOW else rows[:WINDOW], name)


FIGURES: dict[AlarmName, Figure] = {
    "reward": fallen_reward,
    "entropy": fallen_entropy,
    "truncated": recent("completions/clipped_ratio"),
    "length": longer_for_nothing,
    "identical": doubled("completions/identical"),
    "repetition": doubled("completions/repetition"),
    "equal_rewards": recent("rollout/equal_rewards"),
    "kl": recent("kl"),
    "logp_difference": recent("sampling/sampling_logp_difference/mean"),
    "clip_ratio": recent("clip_ratio/region_mean"),
    "reward_gap": reward_gap,
    "grader_errors": recent("grader_error_share"),
    "chosen": falling_chosen,
    "loss": grown_loss,
    "dev_loss": dev_loss,
}


class Ring(NamedTuple):
    """An alarm that rings now."""

    step: int
    alarm: AlarmName
    figure: float
    threshold: float
    stops: bool

    def __str__(self) -> str:
        about = ALARMS[self.alarm]
        side = "below" if about.below else "above"
        return f"{about.what.format(self.figure)} (alarm '{self.alarm}': {side} {self.threshold:g})"

    @property
    def fix(self) -> str:
        return ALARMS[self.alarm].fix


class Watch:
    """The alarms of a stage over a history that grows: which of them ring, and which rang and are not over yet."""

    def __init__(self, stage: str, settings: Alarms) -> None:
        self._thresholds = {
            name: settings.thresholds.get(name, about.threshold)
            for name, about in ALARMS.items()
            if stage in about.stages and name not in settings.silent
        }
        self._stop = settings.stop
        self._ringing: set[AlarmName] = set()
        self._history = History()

    def add(self, row: Row) -> list[Ring]:
        """Take in a row of metrics.jsonl; return the alarms that ring from it on."""
        self._history.add(row)
        rings = []
        for name, threshold in self._thresholds.items():
            figure = FIGURES[name](self._history)
            if figure is None:
                continue
            bad = figure < threshold if ALARMS[name].below else figure > threshold
            if bad and name not in self._ringing:
                rings.append(Ring(row["step"], name, figure, threshold, name in self._stop))
            (self._ringing.add if bad else self._ringing.discard)(name)
        return rings


class Alarmed(TrainerCallback):
    """Rings a run's alarms. One that is to stop the run has it saved first; `stopped` then says which it was."""

    def __init__(self, recipe: Recipe, run: Path) -> None:
        self.stopped: Ring | None = None
        self._watch = Watch(recipe.stage, recipe.alarms)
        self._run = run

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any):
        """Take in what a resumed run has logged: what rang then does not ring again."""
        if state.is_world_process_zero:
            forget_after(self._run / FILE, state.global_step)
        for row in read_rows(self._run / directory.METRICS):
            if row["step"] <= state.global_step:
                self._watch.add(row)

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs=None, **_: Any):
        # Ranks log the same figures, so that they ring, and stop, together.
        row = metrics_row(logs or {}, state.global_step)
        for ring in self._watch.add(row) if row else ():
            say(f"warning: step {ring.step}: {ring}\n  {ring.fix}")
            if state.is_world_process_zero:
                append_row(self._run / FILE, {**ring._asdict(), "says": str(ring), "fix": ring.fix})
            if ring.stops and state.global_step < state.max_steps:
                self.stopped = ring
                control.should_save = control.should_training_stop = True

    def check(self) -> None:
        """Raise GateError where an alarm has stopped the run."""
        if self.stopped:
            raise GateError(
                f"{self.stopped}",
                where=f"stopped at step {self.stopped.step}",
                fix=f"{self.stopped.fix}\n  the checkpoint is kept; the same command goes on from it, past this alarm",
            )


def rung(run: Path) -> list[dict[str, Any]]:
    """Return what rang in a run, in order: {step, alarm, figure, threshold, stops, says, fix}."""
    return read_rows(run / FILE)
