"""The run directory: its parts, its lock, and whether a recipe starts it, resumes it or finds it finished.

recipe.yaml     the resolved recipe
inputs.json     digests of recipe, data and parent: what makes two runs the same run
metrics.jsonl   one JSON object a logged step, train and dev
samples/        completions with their grades
checkpoints/    what an interrupted run resumes from
final/          the finished checkpoint
run.json        written last, atomically; without it the run is unfinished
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import yaml

from posttrain.errors import UserError

RECIPE, INPUTS, METRICS, RUN = "recipe.yaml", "inputs.json", "metrics.jsonl", "run.json"
SAMPLES, CHECKPOINTS, FINAL, ADAPTER, LINEAGE = "samples", "checkpoints", "final", "adapter", "lineage.json"

State = Literal["new", "resume", "finished"]

# What may differ between two starts of the same run: where it runs and where it is written.
_PLACE_KEYS = ("out", "launch")


def write_json(path: Path, document: Any) -> None:
    """Write `document` whole or not at all: aside, flushed to the disk, then renamed."""
    aside = path.with_name(path.name + ".partial")
    with aside.open("w", encoding="utf-8") as file:
        json.dump(document, file, indent=2, ensure_ascii=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


def read_json(path: Path) -> Any:
    """Return the JSON document in `path`."""
    return json.loads(path.read_text(encoding="utf-8"))


def recipe_digest(recipe: Mapping[str, Any]) -> str:
    """Return the sha256 of what a recipe asks for. Where it runs, where it writes and where its rows lie
    do not count: the rows themselves are in the data digest, the model in the parent's."""
    asked = {key: value for key, value in recipe.items() if key not in (*_PLACE_KEYS, "data")}
    asked["model"] = {key: value for key, value in recipe["model"].items() if key not in ("path", "revision")}
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def open_run(run: Path, recipe_text: str, *, data_digest: str, parent_digest: str, fresh: bool = False) -> State:
    """Make `run` ready for the recipe and say what is left to do.

    Raises UserError when the directory holds something else: another recipe's run, or no run at all.
    """
    recipe = yaml.safe_load(recipe_text)
    inputs = {"recipe": recipe_digest(recipe), "data": data_digest, "parent": parent_digest}
    if fresh and (run / RECIPE).exists():
        shutil.rmtree(run)
    if (run / RECIPE).exists():
        _refuse_other_inputs(run, recipe, inputs)
        if (run / RUN).exists():
            return "finished"
        (run / RECIPE).write_text(recipe_text, encoding="utf-8")
        return "resume" if last_checkpoint(run) else "new"
    if run.is_dir() and any(entry.name not in _OURS for entry in run.iterdir()):
        raise UserError(
            f"{run} is not empty and is not a run directory",
            where="out",
            fix="name another directory with `out:` or --out",
        )
    run.mkdir(parents=True, exist_ok=True)
    for part in (SAMPLES, CHECKPOINTS):
        (run / part).mkdir(exist_ok=True)
    write_json(run / INPUTS, inputs)
    (run / RECIPE).write_text(recipe_text, encoding="utf-8")
    return "new"


_OURS = {"lock", "logs", SAMPLES, CHECKPOINTS, INPUTS}


def _refuse_other_inputs(run: Path, recipe: dict[str, Any], inputs: dict[str, str]) -> None:
    """Raise UserError with what differs when `run` was made from other inputs."""
    before = read_json(run / INPUTS)
    if before == inputs:
        return
    differing = []
    if before["recipe"] != inputs["recipe"]:
        was = dict(_flat(yaml.safe_load((run / RECIPE).read_text(encoding="utf-8"))))
        now = dict(_flat(recipe))
        for key in sorted(was.keys() | now.keys()):
            place_only = key.startswith((*_PLACE_KEYS, "data.", "model.path", "model.revision"))
            if not place_only and was.get(key) != now.get(key):
                differing.append(f"{key}: {was.get(key)!r} there, {now.get(key)!r} here")
    if before["data"] != inputs["data"]:
        differing.append("data: other rows")
    if before["parent"] != inputs["parent"]:
        differing.append("model: another parent")
    raise UserError(
        f"{run} holds a run of another recipe:\n  " + "\n  ".join(differing),
        where="out",
        fix="start over with --fresh, or name another directory with --out",
    )


def _flat(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value) for each leaf of a recipe."""
    if isinstance(value, dict) and value:
        for name, part in value.items():
            yield from _flat(part, f"{key}.{name}" if key else str(name))
    else:
        yield key, value


def last_checkpoint(run: Path) -> Path | None:
    """Return the newest complete checkpoint of `run`; trainer_state.json is the last file of one."""
    found = [path for path in (run / CHECKPOINTS).glob("checkpoint-*") if (path / "trainer_state.json").exists()]
    return max(found, key=checkpoint_step, default=None)


def checkpoint_step(checkpoint: Path) -> int:
    """Return the step of a ``checkpoint-STEP`` directory."""
    return int(checkpoint.name.rsplit("-", 1)[1])


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Hold the run directory for this process; a process that dies lets go of it.

    Raises UserError when another process has it.
    """
    run.mkdir(parents=True, exist_ok=True)
    with (run / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"another process is working in {run}", where="out", fix="wait for it, or name another --out"
            ) from None
        yield
