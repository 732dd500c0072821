"""A step whose loss or gradient is no number never moves the weights: the run stops, or skips it, as the recipe says.

The loss of each part of the batch and the norm of the gradient are looked at between backward pass and optimizer, in
all ranks at once. DeepSpeed makes its step inside the backward pass; ZeRO leaves out a step whose gradient norm is no
number by itself, and that is where its weights are guarded. With float16 the loss scale is found by such steps: they
are left out by the scaler, and are an alarm only where the loss itself is no number, or they do not end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from posttrain.data.length import kept_part
from posttrain.errors import UserError, listed
from posttrain.runs import checkpoints
from posttrain.runs.metrics import append_row
from posttrain.stages.alarms import FILE
from posttrain.stages.job import Job
from posttrain.stages.terminal import say
from posttrain.stages.together import everyones

SCALE_STEPS = 25
"""Steps in a row that float16's loss scale, halved at each from 2^16, may take to be found."""
_SHOWN_ROWS = 8
_SHOWN_CHARACTERS = 80


def guarding(job: Job) -> type:
    """Return a mixin for TRL's trainers that never moves the weights by what is no number, nor saves such weights."""
    settings = job.recipe.alarms

    class Guarding:
        def __init__(self: Any, *args, **kwargs):
            self._parts: list[tuple[Any, Any]] = []  # the losses of the step so far, and what they are of
            self._loss_before: Any = None
            self._in_a_row = 0
            self._window = [0, 0]  # steps since the last log, and those of them that were left out
            super().__init__(*args, **kwargs)

        def training_step(self: Any, model, inputs, num_items_in_batch=None):
            if not self._parts:
                self._loss_before = self._tr_loss.clone()
            loss = super().training_step(model, inputs, num_items_in_batch)  # type: ignore[misc]  # the trainer's
            self._parts.append((loss.detach(), inputs))
            return loss

        def _get_grad_norm(self: Any, model, grad_norm=None):
            norm = super()._get_grad_norm(model, grad_norm=grad_norm)  # type: ignore[misc]  # the trainer's
            parts, self._parts = self._parts, []
            self._window[0] += 1
            bad_loss, bad_norm = _nonfinite(self, [loss for loss, _ in parts], norm)
            if bad_loss or bad_norm:
                self._leave_out(parts, bad_loss, bad_norm)
            else:
                self._in_a_row = 0
            return norm

        def _leave_out(self: Any, parts, bad_loss: bool, bad_norm: bool) -> None:
            """Leave the step out, or raise UserError."""
            self._in_a_row += 1
            by_scaler = self.args.fp16 and not bad_loss
            most = SCALE_STEPS if by_scaler else settings.max_skipped if settings.nonfinite == "skip" else 1
            made = self.is_deepspeed_enabled and not bad_norm
            step = self.state.global_step + 1
            what = "the loss is no number" if bad_loss else "the gradient's norm is no number"
            if self._in_a_row >= most or made:
                raise self._stop_at(step, what, parts, made)
            if not (self.args.fp16 or self.is_deepspeed_enabled):  # these leave it out themselves
                for parameter in self.model.parameters():
                    parameter.grad = None
            self._tr_loss.copy_(self._loss_before)  # a NaN would stay in it
            self._window[1] += 1
            where = "" if by_scaler else f": {self._rows(parts)}"
            say(f"warning: step {step} is left out: {what}{where}")
            if self.is_world_process_zero() and not by_scaler:
                append_row(job.run / FILE, {"step": step, "alarm": "nonfinite", "says": f"{what}{where}"})

        def _stop_at(self: Any, step: int, what: str, parts, made: bool) -> UserError:
            rows, bad = self._rows(parts), nonfinite_weight(self)
            saved = checkpoints.newest(job.run)
            kept = (
                f"the last checkpoint is that of step {checkpoints.step_of(saved)}"
                if saved
                else "no checkpoint is saved yet"
            )
            state = (
                f"the weights hold what is no number, as {bad}, since an earlier step"
                if bad
                else "DeepSpeed has made its update"
                if made
                else f"its update was not made: the weights are those of step {step - 1}"
            )
            again = f" ({self._in_a_row} steps in a row)" if self._in_a_row > 1 else ""
            return UserError(
                f"step {step}: {what}{again}; {state}, and {kept}\n  {rows}",
                where="alarms.nonfinite",
                fix="lower train.learning_rate, or look at its rows; --set alarms.nonfinite=skip goes on without it",
            )

        def _rows(self: Any, parts) -> str:
            """Say, as far as it can be known, which rows the loss of this rank's step was no number for."""
            bad = [inputs for loss, inputs in parts if not loss.isfinite().all()] or [inputs for _, inputs in parts]
            if places := dict.fromkeys(place for inputs in bad for place in self.places_of(inputs)):
                return f"its rows: {_first(places)}"
            return f"its rows begin: {_first([text for inputs in bad for text in _texts(job.tokenizer, inputs)])}"

        def places_of(self: Any, inputs) -> list[str]:
            """Return the places of the rows of one part of the batch in their files, where they can be told."""
            return list(_places(job, inputs))

        def log(self: Any, logs, *args, **kwargs):
            if "loss" in logs:
                (steps, skipped), self._window = self._window, [0, 0]
                if skipped:  # what was left out is neither in the sum nor in the mean
                    logs["loss"] = logs["loss"] * steps / (steps - skipped) if steps > skipped else float("nan")
                    logs["skipped_steps"] = float(skipped)
            return super().log(logs, *args, **kwargs)  # type: ignore[misc]  # the trainer's

        def _save_checkpoint(self: Any, *args, **kwargs):
            check_weights(self, f"step {self.state.global_step}: nothing is saved, since")
            return super()._save_checkpoint(*args, **kwargs)  # type: ignore[misc]  # the trainer's

    return Guarding


class WholeWeights(TrainerCallback):
    """Refuses to train weights that hold NaN or infinity from the start."""

    def __init__(self, trainer: Any, name: str) -> None:
        self._trainer, self._name = trainer, name

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any):
        check_weights(self._trainer, f"{self._name} cannot be trained:")


def check_weights(trainer: Any, refusal: str) -> None:
    """Raise UserError, in all ranks, where the weights hold NaN or infinity."""
    if bad := nonfinite_weight(trainer):
        raise UserError(
            f"{refusal} {bad} holds NaN or infinity",
            where="model",
            fix="start from a checkpoint that is whole, or if it was trained here, with a lower train.learning_rate",
        )


def nonfinite_weight(trainer: Any) -> str:
    """Return the name of a weight that holds NaN or infinity in any rank; empty where there is none.

    Under ZeRO-3 each rank looks at its shard.
    """
    import torch

    names, flags = [], []
    for name, parameter in trainer.model.named_parameters():
        weight = getattr(parameter, "ds_tensor", parameter).detach()
        if weight.is_floating_point() and weight.numel():
            names.append(name)
            flags.append(weight.isfinite().all().cpu())
    whole = torch.stack(flags).tolist() if flags else []
    mine = next((name for name, is_whole in zip(names, whole, strict=True) if not is_whole), "")
    return next(filter(None, everyones([mine])), "")


def _nonfinite(trainer: Any, losses: Sequence[Any], norm: Any) -> list[bool]:
    """Return whether a loss, and whether the gradient norm, is NaN or infinite in any rank."""
    import torch

    loss = torch.stack([one.float().reshape(()) for one in losses])
    norm = torch.as_tensor(0.0 if norm is None else norm, dtype=torch.float32, device=loss.device)
    flags = torch.stack([loss.isfinite().all(), norm.isfinite()]).logical_not()
    return trainer.accelerator.gather(flags.float()[None]).amax(0).bool().tolist()


def _places(job: Job, batch: Any) -> Iterator[str]:
    """Yield the places of a batch's rows in the files that they came from, where the rows can be told."""
    from posttrain.stages.reference import ANSWERS

    stage, rows = job.recipe.stage, job.train_dataset
    if job.place_of is None or not hasattr(batch, "keys") or "attention_mask" not in batch:
        return
    columns = [["prompt_ids", answer] for answer in ANSWERS.get(stage, {}) if answer in rows.column_names]
    columns = columns or [["input_ids"]]
    part = kept_part(job.arguments.max_length, getattr(job.arguments, "truncation_mode", "keep_start"))
    mask = batch["attention_mask"].bool()
    wanted = {tuple(ids[kept].tolist()) for ids, kept in zip(batch["input_ids"], mask, strict=True)}
    names = list(dict.fromkeys(name for each in columns for name in each))
    for number, row in enumerate(rows.select_columns(names)):
        if any(tuple([token for name in each for token in row[name]][part]) in wanted for each in columns):
            yield job.place_of(number)


def _texts(tokenizer: Any, batch: Any) -> Iterator[str]:
    if hasattr(batch, "keys"):
        for ids in batch["input_ids"][:_SHOWN_ROWS]:
            yield repr(tokenizer.decode(ids[: 2 * _SHOWN_CHARACTERS], skip_special_tokens=True)[:_SHOWN_CHARACTERS])


def _first(several: Iterable[str]) -> str:
    names = list(several)
    more = f" and {len(names) - _SHOWN_ROWS} more" if len(names) > _SHOWN_ROWS else ""
    return listed(names[:_SHOWN_ROWS]) + more
