"""Training that stops on a signal or for a time limit: the step is finished and saved, or dropped if it is long."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from posttrain import stopping
from posttrain.errors import Stopped
from posttrain.runs import checkpoints
from posttrain.stages.random_numbers import random_states, set_random_states
from posttrain.stages.terminal import say
from posttrain.stages.together import agreed
from posttrain.stages.unfinished import SUMS

STEP_SECONDS = 60.0
"""A step that is not finished so long after a signal is dropped at its next micro-batch, and done again on resuming."""
_BYTES_A_SECOND = 200e6  # of a disk, before the first checkpoint has shown what it is


class StopInTime(TrainerCallback):
    """Trains, and ends when the process is asked to stop: with the step that is under way, or the one before it, saved.

    With several processes a signal reaches each at another moment; they agree at every step's end, so that all of them
    save the same step. A single process also leaves between two micro-batches.
    """

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer
        self.step_seconds = 0.0
        self.save_seconds = _first_guess(trainer.model)
        self._began = self._event = time.monotonic()
        self._finished: dict[str, Any] = {}
        self._stopped = 0
        self._said = False

    def train(self, checkpoint: Path | None) -> None:
        """Train to the end, from `checkpoint` where there is one. Raises Stopped, with the last step saved."""
        try:
            self.trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        except Stopped as stop:
            self._stopped, left = stop.number, True
        else:
            left = False
        # And out of that block, whose traceback holds on to what was open.
        if left:
            self._save_finished()
        if self._stopped and (left or self.trainer.state.global_step < self.trainer.state.max_steps):
            self.trainer.accelerator.wait_for_everyone()
            raise Stopped(self._stopped)

    def promise(self, number: int) -> None:
        """Say what happens now that a signal has come. Called from its handler."""
        if self._said or os.environ.get("RANK", "0") != "0":
            return
        self._said = True
        state = self.trainer.state
        if state.max_steps and state.global_step >= state.max_steps:
            what = "the last step is done: finishing the run"
        elif stopping.is_leaving():
            what = "leaving the samples that are being drawn, which a resumed run draws"
        elif self.step_seconds:
            what = f"finishing the step (about {self.step_seconds:,.1f} s)"
        else:
            what = "finishing the step"
        stopping.say(f"{stopping.why()}: {what}, then saving (about {self.save_seconds:,.1f} s); again to stop at once")

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any):
        self._leave_if_asked(args)

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any):
        self._remember_sums()
        self._began = time.monotonic()
        if args.world_size == 1:
            self._leave_if_asked(args)

    def on_substep_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any):
        if args.world_size == 1 and stopping.seconds_since() > STEP_SECONDS:
            self._leave_if_asked(args)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any):
        self._event = time.monotonic()
        self.step_seconds = max(self.step_seconds, self._event - self._began)
        stopping.reserve(self.step_seconds + self.save_seconds)
        self._finished = {"random": random_states()}
        if self._asked(args) and state.global_step < state.max_steps:
            control.should_save = True
            control.should_evaluate = False
            control.should_training_stop = True
        return control

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any):
        self._event = time.monotonic()

    def on_prediction_step(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any):
        self._leave_if_asked(args)

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any):
        self._event = time.monotonic()

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any):
        self.save_seconds = max(self.save_seconds, time.monotonic() - self._event)
        if self._asked(args):
            control.should_training_stop = True
        return control

    def _asked(self, args: TrainingArguments) -> int:
        """Return the signal by which any rank was asked to stop; 0 for none."""
        self._stopped = agreed(args, stopping.asked() or 0)
        return self._stopped

    def _leave_if_asked(self, args: TrainingArguments) -> None:
        if number := self._asked(args):
            raise Stopped(number)

    def _remember_sums(self) -> None:
        """Remember what a step adds to before it is finished, and a checkpoint holds."""
        trainer = self.trainer
        self._finished |= {
            "sums": {name: getattr(trainer, name) for name in _SUMS if hasattr(trainer, name)},
            "loss": trainer._tr_loss.clone(),
            "metrics": {name: list(values) for name, values in trainer._metrics["train"].items()},
            "tokens": trainer.state.num_input_tokens_seen,
        }

    def _save_finished(self) -> None:
        """Save the last finished step, if no checkpoint has it, as if the next had not begun. There may be none."""
        trainer, state = self.trainer, self.trainer.state
        saved = checkpoints.place_of(Path(trainer.args.output_dir).parent, state.global_step)
        if not self._finished.get("random") or saved.exists():
            return
        say(f"saving step {state.global_step}; the one after it was dropped")
        if "sums" in self._finished:
            trainer.__dict__.update(self._finished["sums"])
            trainer._tr_loss = self._finished["loss"]
            trainer._metrics["train"].clear()
            trainer._metrics["train"].update(self._finished["metrics"])
            state.num_input_tokens_seen = self._finished["tokens"]
        set_random_states(self._finished["random"])
        trainer._save_checkpoint(trainer.model, None)


_SUMS = (*SUMS, "_buffered_inputs", "current_flos")


def _first_guess(model: Any) -> float:
    """Return the seconds that a checkpoint may take: weights, and twice as much for the states of those trained."""
    size = sum(p.numel() * p.element_size() * (3 if p.requires_grad else 1) for p in model.parameters())
    return size / _BYTES_A_SECOND
