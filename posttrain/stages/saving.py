"""Checkpoints from inside the trainer: whole or absent, with all that the next step depends on."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from posttrain.errors import UserError
from posttrain.runs import checkpoints, directory, whole
from posttrain.runs.room import check_room, is_full, no_room
from posttrain.stages.arguments import train_settings
from posttrain.stages.job import Job
from posttrain.stages.random_numbers import random_numbers_kept
from posttrain.stages.reshard import fits_ranks, for_these_ranks, mend_groups
from posttrain.stages.terminal import say
from posttrain.stages.unfinished import read_unfinished, write_unfinished

_STATE = "trainer_state.json"
_ARGUMENTS = "training_args.bin"  # a pickle that nothing reads


def saving(job: Job) -> type:
    """Return a mixin for TRL's trainers that writes each checkpoint aside and gives it its name when it is whole,
    keeps the last ones and the best, and goes on from one as if training had not stopped."""
    limit = train_settings(job.recipe)["save_total_limit"]
    job.arguments.save_total_limit = None  # transformers' own rotation deletes in place, and goes by the clock

    class Saving:
        _writing: Path | None = None

        def _get_output_dir(self: Any, trial):
            return str(self._writing or job.run / checkpoints.CHECKPOINTS)

        def create_model_card(self, *args, **kwargs):
            """TRL writes one beside the checkpoints at each of them."""

        def _save_checkpoint(self: Any, model, trial):
            place = checkpoints.place_of(job.run, self.state.global_step)
            aside = checkpoints.aside_of(place)
            with _whole_or_absent(self, job, place, aside):
                self._writing = aside.parent
                try:
                    super()._save_checkpoint(model, trial)  # type: ignore[misc]  # the trainer's
                finally:
                    self._writing = None
                write_unfinished(self, aside)
                if self.is_world_process_zero():
                    self.state.best_model_checkpoint = _best(self, job, place)
                    self.state.save_to_json(str(aside / _STATE))
                    (aside / _ARGUMENTS).unlink(missing_ok=True)
            if self.is_world_process_zero():
                checkpoints.prune(job.run, limit)
                shutil.rmtree(aside.parent, ignore_errors=True)
            self.state.best_model_checkpoint = _best(self, job)

        def _init_training_state(self: Any, *args, **kwargs):
            found = super()._init_training_state(*args, **kwargs)  # type: ignore[misc]  # the trainer's
            if self.state.best_global_step and self.args.load_best_model_at_end:
                self.state.best_model_checkpoint = _best(self, job)
                if self.state.best_model_checkpoint is None:
                    say(f"warning: the best checkpoint, of step {self.state.best_global_step}, is lost: the best of "
                        "those to come counts")  # fmt: skip
                    self.state.best_metric = self.state.best_global_step = None
            return found

        def evaluate(self: Any, *args, **kwargs):
            """Look without moving the random numbers of training."""
            with random_numbers_kept():  # a look that a stop cut off is taken again
                return super().evaluate(*args, **kwargs)  # type: ignore[misc]  # the trainer's

        def _evaluate(self: Any, trial, ignore_keys_for_eval, skip_scheduler=False):
            """A look that a stopped run had left to take, and takes at its start, counts as any other."""
            late = skip_scheduler and self.state.global_step > 0
            found = super()._evaluate(trial, ignore_keys_for_eval, skip_scheduler and not late)  # type: ignore[misc]
            if late:
                self._determine_best_metric(metrics=found, trial=trial)
            return found

        def _run_epoch(self: Any, *args, **kwargs):
            """Go on in the middle of what was being counted; train nothing where nothing is left."""
            resumed = kwargs.get("resume_from_checkpoint")
            if resumed is not None and kwargs["epoch"] == kwargs["epochs_trained"]:
                read_unfinished(self, Path(resumed))
                if not fits_ranks(Path(resumed), self.args.world_size):
                    mend_groups(self, Path(resumed))
            if self.state.global_step >= self.state.max_steps or self.control.should_training_stop:
                self.control.should_training_stop = True
                return
            super()._run_epoch(*args, **kwargs)  # type: ignore[misc]  # the trainer's

        def _load_rng_state(self: Any, checkpoint):
            """Restore the random numbers of this rank; a rank that the checkpoint does not know gets its own."""
            from transformers import set_seed

            if checkpoint and not fits_ranks(Path(checkpoint), self.args.world_size):
                set_seed(_seed(self.args.seed, self.state.global_step, self.args.process_index))
            else:
                super()._load_rng_state(checkpoint)  # type: ignore[misc]  # the trainer's

        def _load_best_model(self: Any):
            best = Path(self.state.best_model_checkpoint)
            if why := whole.why_not_whole(best):
                raise UserError(
                    f"the best checkpoint, of step {checkpoints.step_of(best)}, cannot be read: {why}",
                    fix="run the same command with --from an earlier step, or leave eval.best_by out",
                )
            self.state.best_model_checkpoint = str(for_these_ranks(self, best))
            super()._load_best_model()  # type: ignore[misc]  # the trainer's
            self.state.best_model_checkpoint = str(best)

    return Saving


@contextmanager
def _whole_or_absent(trainer: Any, job: Job, place: Path, aside: Path) -> Iterator[None]:
    """Let all ranks write into `aside`, and make it `place` when all have. Nothing is left of it after an error.

    Raises UserError when the disk has no room for it, or is full before its end.
    """
    first, wait = trainer.is_world_process_zero(), trainer.accelerator.wait_for_everyone
    if first:
        check_room(job.run)
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
    wait()
    try:
        yield
        wait()
        _publish(trainer, job, place, aside)
    except Exception as error:
        free = shutil.disk_usage(job.run).free
        if trainer.args.world_size == 1:  # else the others are writing still: the next start removes it
            shutil.rmtree(aside.parent, ignore_errors=True)
        if is_full(error, free):
            step = checkpoints.step_of(place)
            raise no_room(job.run, f"the disk is full: the checkpoint of step {step} was not written") from error
        raise


def _publish(trainer: Any, job: Job, place: Path, aside: Path) -> None:
    """Flush and digest what was written, the ranks a share each; the first one then gives it its name."""
    from accelerate.utils import broadcast_object_list, gather_object

    rank, world = trainer.args.process_index, trainer.args.world_size
    names: list[Any] = [whole.files_of(aside) if rank == 0 else None]
    if world > 1:
        broadcast_object_list(names)
    mine = whole.flushed(aside, names[0][rank::world])
    everyones = gather_object([mine]) if world > 1 else [mine]
    if rank == 0:
        for path in (job.run / name for name in directory.GROWING):
            if path.exists():
                whole.flushed(job.run, [path.name])  # the rows up to this step are kept as long as it is
        ranks = {"processes": world, "zero": job.recipe.launch.zero}
        files = {name: entry for share in everyones for name, entry in share.items()}
        best = trainer.state.best_global_step
        whole.write_manifest(aside, files, step=checkpoints.step_of(place), ranks=ranks, best=best)
        whole.publish(aside, place)
    trainer.accelerator.wait_for_everyone()


def _best(trainer: Any, job: Job, *new: Path) -> str | None:
    """Return the checkpoint of the best look, where there is one; `new` is about to be."""
    step = trainer.state.best_global_step
    place = checkpoints.place_of(job.run, step) if step else None
    return str(place) if place and (place in new or place.is_dir()) else None


def _seed(*numbers: int) -> int:
    return int.from_bytes(hashlib.sha256(repr(numbers).encode()).digest()[:4], "big")
