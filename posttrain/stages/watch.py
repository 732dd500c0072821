"""What follows a run from inside the trainer: metrics.jsonl, the progress shown, and signals."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from posttrain.plain_output import print_plainly
from posttrain.runs.metrics import append_row, metrics_row
from posttrain.stages.terminal import say

# Shown on the progress line where a stage has them, in this order.
_SHOWN = ("loss", "reward", "pass@1", "rewards/accuracies", "rewards/margins", "rollout/equal_rewards")


class MetricsWriter(TrainerCallback):
    """Writes metrics.jsonl, each row with the seconds of work so far."""

    def __init__(self, path: Path, started: float) -> None:
        self.path = path
        self.started = started

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs=None, **_: Any):
        row = metrics_row(logs or {}, state.global_step)
        if row is not None and state.is_world_process_zero:
            append_row(self.path, {**row, "seconds": round(time.time() - self.started, 2)})


class Patience(TrainerCallback):
    """Stops training after a number of looks without a better `eval.best_by`.

    The trainer's state knows the best look so far, and is what a resumed run goes on with.
    """

    def __init__(self, looks: int) -> None:
        self.looks = looks

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any):
        """Stop where the run had stopped already, and was ended before it had written what it had."""
        if state.global_step and state.best_global_step and not args.eval_on_start:
            control.should_training_stop = (state.global_step - state.best_global_step) / state.eval_steps >= self.looks

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, metrics=None, **_: Any
    ):
        value = (metrics or {}).get(args.metric_for_best_model)
        if value is None or state.best_metric is None:
            return
        better = value > state.best_metric if args.greater_is_better else value < state.best_metric
        waited = (state.global_step - (state.best_global_step or 0)) / state.eval_steps
        if not better and waited >= self.looks and state.global_step < state.max_steps:
            say(f"no better {str(args.metric_for_best_model).removeprefix('eval_')} in {self.looks} looks: stopping")
            control.should_training_stop = True


class ProgressLine(TrainerCallback):
    """A bar with ETA, loss and tokens/s on a terminal; plain lines elsewhere. All of it on stderr."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.console = Console(stderr=True)
        self.progress: Progress | None = None
        self.started = time.monotonic()
        self.tokens = self.tokens_at_start = 0.0
        self.values: dict[str, float] = {}

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any):
        if not state.is_world_process_zero:
            return
        self.started = time.monotonic()
        self.tokens_at_start = self.tokens = float(state.num_input_tokens_seen or 0)
        self.first_step = state.global_step
        if self.console.is_terminal:
            self.progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[values]}"),
                console=self.console,
                transient=True,
            )
            self.task = self.progress.add_task(
                self.label, total=state.max_steps, completed=state.global_step, values=""
            )
            self.progress.start()
            print_plainly()

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs=None, **_: Any):
        row = metrics_row(logs or {}, state.global_step)
        if row is None or not state.is_world_process_zero:
            return
        if row["split"] == "dev":
            self._print(f"step {state.global_step:>5} dev   {self._format(row)}")
            return
        self.tokens = row.get("num_tokens") or self.tokens
        self.values = row
        if self.progress is None:
            self._print(f"step {state.global_step:>5} train {self._format(row)}{self._pace(state)}")

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any):
        if self.progress is not None:
            values = self._format(self.values) + self._pace(state)
            self.progress.update(self.task, completed=state.global_step, values=values)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any):
        self.close()

    def looking(self, completions: int) -> Callable[[int], None]:
        """Return what a look at held-out problems calls with the number of completions just sampled."""
        if self.progress is None:
            return lambda done: None
        bar, task, left = self.progress, self.progress.add_task("dev", total=completions, values=""), completions

        def advance(done: int) -> None:
            nonlocal left
            left -= done
            bar.advance(task, done)
            if left <= 0:
                bar.remove_task(task)

        return advance

    def close(self) -> None:
        """Take the bar off the terminal."""
        if self.progress is not None:
            self.progress.stop()

    def _print(self, line: str) -> None:
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _format(self, row: dict[str, Any]) -> str:
        shown = [(key, row[key]) for key in _SHOWN if isinstance(row.get(key), int | float)]
        return "  ".join(f"{key} {value:.4g}" for key, value in shown)

    def _pace(self, state: TrainerState) -> str:
        seconds = time.monotonic() - self.started
        done = state.global_step - self.first_step
        if not done:
            return ""
        pace = f"  {(self.tokens - self.tokens_at_start) / seconds:,.0f} tokens/s" if self.tokens else ""
        if self.progress is None:
            pace += f"  ETA {_clock(seconds / done * (state.max_steps - state.global_step))}"
        return pace


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
