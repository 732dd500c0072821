"""What differs between a run that was killed and one that was not: nothing may but the times.

Weights are compared byte by byte; with a tolerance, tensor by tensor and number by number.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TIMES = {"seconds", "step_time", "finished"}
_PLACES = {"run"}
"""Keys that are not compared either: where the run lies."""

_NOT_COMPARED = {"lock", "logs", "policy"}
_BIG, _PADDING = 100_000, 4096


def differences(whole: Path, cut: Path, within: float = 0.0) -> list[str]:
    """Return what differs between two run directories, a line each. Floats may differ by `within`."""
    found = [f"{name}: only in the {side} run" for name, side in _unpaired(whole, cut)]
    for path in sorted(_files(whole) & _files(cut)):
        one, two = whole / path, cut / path
        if path.startswith("checkpoints/") or one.is_dir():
            continue  # which checkpoints there are, and of which files, is compared; what is in them shows elsewhere
        if path.endswith("manifest.json"):
            continue  # digests of the files beside it, some of which hold times
        if path.endswith(".safetensors"):
            found += _in_tensors(path, one, two, within)
        elif path.endswith((".json", ".jsonl")):
            found += [f"{path}{where}" for where in _in_documents(_documents(one), _documents(two), within)]
        elif one.read_bytes() != two.read_bytes():
            found.append(f"{path}: other bytes")
    return found


def _files(run: Path) -> set[str]:
    """Return the files of a run, and the directories that are empty, by their paths within it."""
    found = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file() or not any(path.iterdir())}
    return {path for path in found if path.split("/")[0] not in _NOT_COMPARED}


def _unpaired(whole: Path, cut: Path) -> Iterator[tuple[str, str]]:
    one, two = _files(whole), _files(cut)
    yield from ((name, "uninterrupted") for name in sorted(one - two))
    yield from ((name, "killed") for name in sorted(two - one))


def _in_tensors(path: str, one: Path, two: Path, within: float) -> list[str]:
    if one.read_bytes() == two.read_bytes():
        return []
    from safetensors.torch import load_file

    ours, theirs = load_file(one), load_file(two)
    if ours.keys() != theirs.keys():
        return [f"{path}: other tensors"]
    apart = max(float((ours[name].double() - theirs[name].double()).abs().max()) for name in ours)
    return [] if apart <= within and within else [f"{path}: weights differ by up to {apart:.3g}"]


def _documents(path: Path) -> Any:
    text = path.read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()] if path.suffix == ".jsonl" else json.loads(text)


def _in_documents(one: Any, two: Any, within: float, where: str = "") -> Iterator[str]:
    """Yield the places where two JSON documents differ, times left out."""
    if isinstance(one, dict) and isinstance(two, dict):
        for key in sorted((one.keys() | two.keys()) - TIMES - _PLACES):
            if key in one and key in two:
                yield from _in_documents(one[key], two[key], within, f"{where} {key}")
            else:
                yield f"{where} {key}: only in the {'uninterrupted' if key in one else 'killed'} run"
    elif isinstance(one, list) and isinstance(two, list):
        if len(one) != len(two):
            yield f"{where}: {len(one)} entries uninterrupted, {len(two)} killed{_named(one, two)}"
        for number, (left, right) in enumerate(zip(one, two, strict=False)):
            yield from _in_documents(left, right, within, f"{where}[{number}]")
    elif not _same(one, two, within):
        yield f"{where}: {one!r} uninterrupted, {two!r} killed"


def _same(one: Any, two: Any, within: float) -> bool:
    if isinstance(one, float) and isinstance(two, float) and within:
        return math.isclose(one, two, rel_tol=within, abs_tol=within)
    return type(one) is type(two) and one == two


def _named(one: list[Any], two: list[Any]) -> str:
    """Say which steps are in one list of rows alone."""
    steps = [[row.get("step") for row in rows if isinstance(row, dict)] for rows in (one, two)]
    return f" (steps {steps[0]} and {steps[1]})" if all(steps) else ""


def contents(checkpoint: Path) -> dict[str, int]:
    """Return the files of a checkpoint with their sizes: what a whole one has. Steps in names are left out, and so are
    the sizes of small files, which grow as the run goes on."""
    step = checkpoint.name.rsplit("-", 1)[-1]
    sizes = {
        re.sub(rf"(?<!\d){step}(?!\d)", "STEP", str(path.relative_to(checkpoint))): path.stat().st_size
        for path in checkpoint.rglob("*")
        if path.is_file()
    }
    return {name: size if size >= _BIG else 0 for name, size in sizes.items()}


def is_whole(checkpoint: Path, whole: dict[str, int]) -> bool:
    """Tell whether a checkpoint has all that `whole` has, each file as long but for the few bytes of padding that
    torch.save makes of the length of names."""
    found = contents(checkpoint)
    return found.keys() == whole.keys() and all(abs(found[name] - size) <= _PADDING for name, size in whole.items())


def checkpoints(run: Path, whole: dict[str, int]) -> tuple[list[int], list[str]]:
    """Return the steps of the checkpoints that have all that `whole` has, and what else a kill left unfinished."""
    steps, rest = [], []
    for path in sorted((run / "checkpoints").glob("*")):
        if re.fullmatch(r"checkpoint-\d+", path.name) and is_whole(path, whole):
            steps.append(int(path.name.rsplit("-", 1)[1]))
        elif path.is_dir() and (files := sum(each.is_file() for each in path.rglob("*"))):
            rest.append(f"checkpoints/{path.name} ({files} of {len(whole)} files)")
    rest += [path.name for path in sorted(run.glob("*.partial*"))]
    if (run / "final").exists() and not (run / "run.json").exists():
        rest.append("final/ without run.json")
    return sorted(steps), rest
