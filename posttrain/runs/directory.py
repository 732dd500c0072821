"""The run directory: its parts, its lock, and whether a recipe starts it, resumes it or finds it finished.

recipe.yaml     the resolved recipe
inputs.json     digests of recipe, data and parent: what makes two runs the same run
metrics.jsonl   one JSON object a logged step, train and dev
samples/        completions with their grades
alarms.jsonl    the alarms that rang (docs/alarms.md)
looks.jsonl     rlvr: what was seen of each problem, and when
smaller_batches.json  after a lack of memory: the batches it went on with, and why
policy/         rlvr with a vLLM server: the weights that it read last
checkpoints/    what an interrupted run resumes from
final/          the finished checkpoint
run.json        written last, atomically; without it the run is unfinished
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml

from posttrain.errors import UserError
from posttrain.recipe.explain import value_at
from posttrain.recipe.overrides import with_value
from posttrain.recipe.paths import grader_paths
from posttrain.recipe.yaml_lines import dotted
from posttrain.runs import checkpoints
from posttrain.runs.checkpoints import CHECKPOINTS
from posttrain.runs.lock import LOCK, RANKS
from posttrain.runs.whole import PARTIAL, write_text

RECIPE, INPUTS, METRICS, RUN = "recipe.yaml", "inputs.json", "metrics.jsonl", "run.json"
SAMPLES, FINAL, ADAPTER, LINEAGE = "samples", "final", "adapter", "lineage.json"
POLICY, LOOKS, SMALLER = "policy", "looks.jsonl", "smaller_batches.json"
GROWING = (METRICS, LOOKS)
"""Files that rows are added to, and that a resumed run cuts back to its checkpoint."""

State = Literal["new", "resume", "finished"]

# What may differ between two starts of the same run: where it runs, where it is written, the look before it, what
# warns of it.
_PLACE_KEYS = ("out", "launch", "signal", "alarms")
_LIMIT_KEYS = ("max_grader_errors",)  # a run that it stopped goes on with another
_FILE_KEYS = ("path", "revision", "chat_template")


def write_json(path: Path, document: Any) -> None:
    """Write `document` whole or not at all: aside, flushed to the disk, then renamed."""
    write_text(path, json.dumps(document, indent=2, ensure_ascii=False) + "\n")


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
    asked["rollout"] = {key: value for key, value in recipe.get("rollout", {}).items() if key not in _LIMIT_KEYS}
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
    from_step: int | None = None,
) -> State:
    """Make `run` ready for the recipe and say what is left to do. What then lies in its checkpoints/ is whole, and the
    newest, of `from_step` where that is given, is what it goes on from.

    Raises UserError when the directory holds something else: another recipe's run, or no run at all.
    """
    if fresh and from_step is not None:
        raise UserError("--fresh throws away what --from would go on from", where="--from", fix="leave one out")
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
        if (run / RUN).exists() and from_step is None:
            return "finished"
        if checkpoint := checkpoints.newest(run):
            _refuse_other_zero(checkpoints.facts_of(checkpoint)["ranks"], ranks)
        for note in checkpoints.settle(run, from_step):
            print(note, file=sys.stderr)
        (run / RUN).unlink(missing_ok=True)  # --from reopens a finished run
        checkpoint = checkpoints.newest(run)
        if checkpoint:
            ranks = read_json(run / INPUTS)["ranks"]  # what the recipe's batch sizes were meant for
        _write_inputs(run, recipe_text, {**inputs, "ranks": ranks})
        return "resume" if checkpoint else "new"
    if from_step is not None:
        raise UserError(f"{run} holds no run to go on with", where="--from", fix="leave it out")
    if is_run:
        _empty(run)
    else:
        refuse_foreign(run)
    for part in (SAMPLES, CHECKPOINTS):
        (run / part).mkdir(parents=True, exist_ok=True)
    _write_inputs(run, recipe_text, {**inputs, "ranks": ranks})
    return "new"


def refuse_foreign(run: Path) -> None:
    """Raise UserError for a directory that holds something and is no run."""
    if (run / RECIPE).exists() and (run / INPUTS).exists():
        return
    if run.is_dir() and any(entry.name not in _OURS for entry in run.iterdir()):
        raise UserError(
            f"{run} is not empty and is not a run directory",
            where="out",
            fix="name another directory with `out:` or --out",
        )


_OURS = {LOCK, RANKS, "logs", SAMPLES, CHECKPOINTS, INPUTS, POLICY, INPUTS + PARTIAL, RECIPE + PARTIAL}


def _write_inputs(run: Path, recipe_text: str, inputs: Mapping[str, Any]) -> None:
    write_json(run / INPUTS, inputs)
    write_text(run / RECIPE, recipe_text)


def _empty(run: Path) -> None:
    """Remove what a run left; its locks stay, since this process holds them. What makes it finished goes first and what
    makes it a run last, so that a start that is killed in between leaves no other run than an unfinished one."""
    order = {RUN: 0, RECIPE: 2, INPUTS: 3}
    for entry in sorted(run.iterdir(), key=lambda entry: order.get(entry.name, 1)):
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name not in (LOCK, RANKS):
            entry.unlink()


def processes_of(run: Path) -> int | None:
    """Return how many processes an interrupted run began with, None where there is nothing to go on from."""
    return read_json(run / INPUTS)["ranks"]["processes"] if checkpoints.newest(run) else None


def _refuse_other_zero(before: Mapping[str, int], now: Mapping[str, int]) -> None:
    """Raise UserError when a run would go on with another ZeRO stage: each keeps the optimizer's state in its own
    way."""
    if before["zero"] != now["zero"]:
        raise UserError(
            f"the run was interrupted with zero {before['zero']}, and cannot go on with zero {now['zero']}: they keep "
            "the optimizer's state in different ways",
            where="launch.zero",
            fix="use the same, with as many processes as you like, or start over with --fresh",
        )


def _refuse_other_inputs(run: Path, recipe: dict[str, Any], inputs: dict[str, Any]) -> None:
    """Raise UserError with what differs when `run` was made from other inputs."""
    before = read_json(run / INPUTS)
    if all(before.get(key) == value for key, value in inputs.items()):
        return
    differing = []
    if before["recipe"] != inputs["recipe"]:
        was = dict(flat(yaml.safe_load((run / RECIPE).read_text(encoding="utf-8"))))
        now = dict(flat(recipe))
        for key in sorted(was.keys() | now.keys()):
            placed = key.startswith((*_PLACE_KEYS, "data.")) or key.removeprefix("model.") in _FILE_KEYS
            placed = placed or key.removeprefix("rollout.") in _LIMIT_KEYS
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


def flat(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value) for each leaf of a recipe."""
    if isinstance(value, dict) and value:
        for name, part in value.items():
            yield from flat(part, f"{key}.{name}" if key else str(name))
    else:
        yield key, value


def forget_samples_after(run: Path, step: int) -> None:
    """Drop the completions kept of later steps: a resumed run samples them again."""
    for path in (run / SAMPLES).glob("*.jsonl"):
        if (number := re.match(r"(?:train|dev)-(\d+)", path.name)) and int(number[1]) > step:
            path.unlink()
