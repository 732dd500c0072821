"""The run directory: its parts, its lock, and whether a recipe starts it, resumes it or finds it finished.

recipe.yaml     the resolved recipe
inputs.json     digests of recipe, data and parent: what makes two runs the same run
metrics.jsonl   one JSON object a logged step, train and dev
samples/        completions with their grades
looks.jsonl     rlvr: what was seen of each problem, and when
smaller_batches.json  after a lack of memory: the batches it went on with, and why
policy/         rlvr with a vLLM server: the weights that it read last
checkpoints/    what an interrupted run resumes from
final/          the finished checkpoint
run.json        written last, atomically; without it the run is unfinished
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import yaml

from posttrain.errors import UserError
from posttrain.recipe.explain import value_at
from posttrain.recipe.overrides import with_value
from posttrain.recipe.paths import grader_paths
from posttrain.recipe.yaml_lines import dotted

RECIPE, INPUTS, METRICS, RUN = "recipe.yaml", "inputs.json", "metrics.jsonl", "run.json"
SAMPLES, CHECKPOINTS, FINAL, ADAPTER, LINEAGE = "samples", "checkpoints", "final", "adapter", "lineage.json"
POLICY = "policy"
SMALLER = "smaller_batches.json"

State = Literal["new", "resume", "finished"]

# What may differ between two starts of the same run: where it runs, where it is written, the look before it.
_PLACE_KEYS = ("out", "launch", "signal")
_FILE_KEYS = ("path", "revision", "chat_template")


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


def smaller_batches(run: Path) -> list[dict[str, Any]]:
    """Return the changes of the micro-batch that the run went on with after a lack of memory, the last one valid."""
    return read_json(run / SMALLER) if (run / SMALLER).exists() else []


def recipe_digest(recipe: Mapping[str, Any]) -> str:
    """Return the sha256 of what a recipe asks for. Where it runs, where it writes, where its files lie and the look
    before it do not count: rows are in the data digest, the model in the parent's, others in `file_digests`."""
    asked = {key: value for key, value in recipe.items() if key not in (*_PLACE_KEYS, "data")}
    asked["model"] = {key: value for key, value in recipe["model"].items() if key not in _FILE_KEYS}
    for loc in grader_paths(recipe.get("graders")):
        if value_at(asked, loc) is not None:
            asked = with_value(asked, loc, None)
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def file_digests(recipe: Mapping[str, Any]) -> dict[str, str]:
    """Return the sha256 of each file of code or template that a recipe names, by its key."""
    named = {dotted(loc): value_at(recipe, loc) for loc in grader_paths(recipe.get("graders"))}
    named["model.chat_template"] = recipe["model"].get("chat_template")
    files = {key: re.sub(r"(\.py):\w+$", r"\1", path) for key, path in named.items() if path}  # file.py:function
    return {key: hashlib.sha256(Path(path).read_bytes()).hexdigest() for key, path in files.items()}


def open_run(
    run: Path,
    recipe_text: str,
    *,
    data_digest: str,
    parent_digest: str,
    world_size: int = 1,
    fresh: bool = False,
) -> State:
    """Make `run` ready for the recipe and say what is left to do.

    Raises UserError when the directory holds something else: another recipe's run, or no run at all.
    """
    recipe = yaml.safe_load(recipe_text)
    inputs = {
        "recipe": recipe_digest(recipe),
        "data": data_digest,
        "parent": parent_digest,
        "files": file_digests(recipe),
    }
    ranks = {"processes": world_size, "zero": recipe.get("launch", {}).get("zero", 0)}
    is_run = (run / RECIPE).exists() and (run / INPUTS).exists()
    if is_run and not fresh:
        _refuse_other_inputs(run, recipe, inputs)
        if (run / RUN).exists():
            return "finished"
        if last_checkpoint(run):
            _refuse_other_ranks(read_json(run / INPUTS)["ranks"], ranks)
        _write_inputs(run, recipe_text, {**inputs, "ranks": ranks})
        return "resume" if last_checkpoint(run) else "new"
    if is_run:
        _empty(run)
    elif run.is_dir() and any(entry.name not in _OURS for entry in run.iterdir()):
        raise UserError(
            f"{run} is not empty and is not a run directory",
            where="out",
            fix="name another directory with `out:` or --out",
        )
    for part in (SAMPLES, CHECKPOINTS):
        (run / part).mkdir(parents=True, exist_ok=True)
    _write_inputs(run, recipe_text, {**inputs, "ranks": ranks})
    return "new"


_OURS = {"lock", "logs", SAMPLES, CHECKPOINTS, INPUTS, POLICY}


def _write_inputs(run: Path, recipe_text: str, inputs: Mapping[str, Any]) -> None:
    write_json(run / INPUTS, inputs)
    (run / RECIPE).write_text(recipe_text, encoding="utf-8")


def _empty(run: Path) -> None:
    """Remove what a run left; its lock stays, since this process holds it."""
    for entry in run.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name != "lock":
            entry.unlink()


def _refuse_other_ranks(before: Mapping[str, int], now: Mapping[str, int]) -> None:
    """Raise UserError when an interrupted run would go on with other ranks: its optimizer state is theirs."""
    if before != now:
        raise UserError(
            f"the run was interrupted with {before['processes']} processes and zero {before['zero']}, and cannot go "
            f"on with {now['processes']} and zero {now['zero']}",
            where="launch",
            fix="use the same, or start over with --fresh",
        )


def _refuse_other_inputs(run: Path, recipe: dict[str, Any], inputs: dict[str, Any]) -> None:
    """Raise UserError with what differs when `run` was made from other inputs."""
    before = read_json(run / INPUTS)
    if all(before.get(key) == value for key, value in inputs.items()):
        return
    differing = []
    if before["recipe"] != inputs["recipe"]:
        was = dict(_flat(yaml.safe_load((run / RECIPE).read_text(encoding="utf-8"))))
        now = dict(_flat(recipe))
        for key in sorted(was.keys() | now.keys()):
            placed = key.startswith((*_PLACE_KEYS, "data.")) or key.removeprefix("model.") in _FILE_KEYS
            if not placed and was.get(key) != now.get(key):
                differing.append(f"{key}: {was.get(key)!r} there, {now.get(key)!r} here")
    for key in sorted(before["files"].keys() | inputs["files"].keys()):
        if before["files"].get(key) != inputs["files"].get(key):
            differing.append(f"{key}: the file has changed")
    if before["data"] != inputs["data"]:
        differing.append("data: other rows")
    if before["parent"] != inputs["parent"]:
        differing.append("model: another parent")
    raise UserError(
        f"{run} holds a run of another recipe:\n  " + "\n  ".join(differing),
        where="out",
        fix="name another directory with --out, or throw that run away with --fresh",
    )


def _flat(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value) for each leaf of a recipe."""
    if isinstance(value, dict) and value:
        for name, part in value.items():
            yield from _flat(part, f"{key}.{name}" if key else str(name))
    else:
        yield key, value


def last_checkpoint(run: Path) -> Path | None:
    """Return the newest checkpoint of `run` that training can go on from, or None.

    trainer_state.json is the last file of a complete one. A checkpoint of the very last step has nothing left to
    train: the trainer would add a step, so the one before it counts.
    """
    found = [path for path in (run / CHECKPOINTS).glob("checkpoint-*") if _can_go_on(path)]
    return max(found, key=checkpoint_step, default=None)


def _can_go_on(checkpoint: Path) -> bool:
    if not (checkpoint / "trainer_state.json").exists():
        return False
    state = read_json(checkpoint / "trainer_state.json")
    return state["global_step"] < state["max_steps"]


def forget_samples_after(run: Path, step: int) -> None:
    """Drop the completions kept of later steps: a resumed run samples them again."""
    for path in (run / SAMPLES).glob("*.jsonl"):
        if (number := re.match(r"(?:train|dev)-(\d+)", path.name)) and int(number[1]) > step:
            path.unlink()


def checkpoint_step(checkpoint: Path) -> int:
    """Return the step of a ``checkpoint-STEP`` directory."""
    return int(checkpoint.name.rsplit("-", 1)[1])


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Hold the run directory for this process; a process that dies lets go of it.

    Raises UserError when another process has it.
    """
    try:
        run.mkdir(parents=True, exist_ok=True)
        lock = (run / "lock").open("w")
    except OSError as error:
        raise UserError(f"{run} cannot be written: {error.strerror}", where="out", fix="name another --out") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"another process is working in {run}", where="out", fix="wait for it, or name another --out"
            ) from None
        yield
