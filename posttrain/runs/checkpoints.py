"""The checkpoints of a run: which there are, which can be gone on from, which are kept.

RUN/checkpoints/checkpoint-STEP is whole or not there (`whole.py`): it is written in RUN/checkpoints/.partial, where
also what is removed goes first. One that no longer is as it was written is set aside as checkpoint-STEP.broken.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

from posttrain.errors import UserError, listed
from posttrain.runs.whole import PARTIAL, bytes_of, flush_names, read_manifest, why_not_whole

CHECKPOINTS = "checkpoints"
BROKEN = ".broken"

_NAME = re.compile(r"checkpoint-(\d+)")


def place_of(run: Path, step: int) -> Path:
    """Return where the checkpoint of a step lies."""
    return run / CHECKPOINTS / f"checkpoint-{step}"


def aside_of(place: Path) -> Path:
    """Return where a checkpoint is written before it has its name."""
    return place.parent / PARTIAL / place.name


def is_named(path: Path) -> bool:
    """Whether a path has the name of a checkpoint in a run."""
    return bool(_NAME.fullmatch(path.name)) and path.parent.name == CHECKPOINTS


def step_of(checkpoint: Path) -> int:
    """Return the step of a ``checkpoint-STEP`` directory."""
    return int(checkpoint.name.rsplit("-", 1)[1])


def kept(run: Path) -> list[Path]:
    """Return the checkpoints of a run that were written to their end, by step. `settle` has looked into each."""
    return sorted((path for path in _named(run) if read_manifest(path)), key=step_of)


def newest(run: Path) -> Path | None:
    """Return the last of the run's checkpoints, which it goes on from."""
    return max(kept(run), key=step_of, default=None)


def facts_of(checkpoint: Path) -> dict[str, Any]:
    """Return what a whole checkpoint says of itself."""
    return read_manifest(checkpoint) or {}


def clear(run: Path) -> None:
    """Remove what a killed process was writing or removing."""
    for path in (run / CHECKPOINTS / PARTIAL, *run.glob(f"*{PARTIAL}")):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def settle(run: Path, step: int | None = None) -> list[str]:
    """Leave in the run only checkpoints it can go on from, the newest of them whole, or the one of `step`, and the best
    that this one knows of; return what there is to say.

    Leftovers go, a checkpoint that is not as it was written is set aside, and so that no later one is mixed with those
    to come, what lies behind `step` is removed. Raises UserError when there is none of that step.
    """
    clear(run)
    notes = []
    for path in _named(run):
        if read_manifest(path) is None:
            notes.append(_set_aside(path))
    if step is not None:
        steps = [step_of(path) for path in kept(run)]
        if step not in steps:
            raise UserError(
                f"{run} has no checkpoint of step {step}",
                where="--from",
                fix=f"there are: {listed(steps)}" if steps else "there is none: leave --from out",
            )
        if why := why_not_whole(place_of(run, step)):
            raise UserError(f"the checkpoint of step {step} is not whole: {why}", where="--from", fix="name another")
        for path in kept(run):
            if step_of(path) > step:
                remove(path)
    while (last := newest(run)) and (why := why_not_whole(last)):
        notes.append(_set_aside(last, why))
    best = place_of(run, facts_of(last).get("best") or 0) if last else None
    if best in kept(run) and (why := why_not_whole(best)):
        notes.append(_set_aside(best, why))
    return notes


def _named(run: Path) -> list[Path]:
    return [path for path in (run / CHECKPOINTS).glob("checkpoint-*") if is_named(path)]


def _set_aside(path: Path, why: str | None = None) -> str:
    """Take a checkpoint's name from it; return what to say."""
    why = why or why_not_whole(path)
    broken = path.with_name(path.name + BROKEN)
    shutil.rmtree(broken, ignore_errors=True)
    path.rename(broken)
    return f"warning: {path} is not whole ({why}): set aside as {broken.name}"


def remove(path: Path) -> None:
    """Remove a checkpoint, so that at no moment a part of it has its name."""
    gone = aside_of(path).with_suffix(".removed")
    gone.parent.mkdir(exist_ok=True)
    shutil.rmtree(gone, ignore_errors=True)
    path.rename(gone)
    flush_names(path.parent)
    shutil.rmtree(gone, ignore_errors=True)


def prune(run: Path, limit: int | None) -> None:
    """Remove all checkpoints but the last `limit` (None or 0: all are kept) and the best that each of these knows of,
    which a run that goes on from it needs."""
    there = kept(run)
    last = there[-limit:] if limit and limit > 0 else there
    best = {facts_of(path).get("best") for path in last}
    for path in there:
        if path not in last and step_of(path) not in best:
            remove(path)


def sizes(run: Path) -> list[int]:
    """Return the bytes of each kept checkpoint."""
    return [bytes_of(path) for path in kept(run)]
