"""From what a user calls a model to where its weights lie. No model is loaded and torch is not imported."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple

from posttrain.errors import UserError, did_you_mean
from posttrain.model import hub
from posttrain.model.code import check_code, code_digest
from posttrain.model.digest import digest_of
from posttrain.recipe.schema import Model
from posttrain.runs import directory
from posttrain.runs.checkpoints import is_named
from posttrain.runs.listing import read_recipe
from posttrain.runs.whole import MANIFEST, why_not_whole

Kind = Literal["builtin", "run", "directory", "adapter", "gguf", "hub"]

_BUILTIN = Path(__file__).parent.parent / "builtin"
_ADAPTER, _CONFIG = "adapter_config.json", "config.json"
_FILE_ENDINGS = (".gguf", ".safetensors", ".bin", ".pt", ".pth", ".json", ".yaml", ".yml")


class Adapter(NamedTuple):
    """A LoRA directory, or a hub id with its commit."""

    path: str
    revision: str | None = None


@dataclass(frozen=True)
class Parent:
    """A model to start from.

    `path` and `revision` are what ``from_pretrained`` takes; with `gguf_file` the weights are that file
    inside `path`. `adapters` are to be merged into those weights, in this order. `run` is the run directory
    it came from, `lineage` the finished generations behind it, oldest first, and `base_model` the name at
    their root. `digest` is a sha256 that tells it from other models. `runs_code`: it is made by code that it brings,
    which the recipe trusts.
    """

    name: str
    kind: Kind
    path: str
    digest: str
    base_model: str
    revision: str | None = None
    gguf_file: str | None = None
    adapters: tuple[Adapter, ...] = ()
    run: Path | None = None
    lineage: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    runs_code: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether what `path` holds is the model as it is, with nothing to convert or to merge."""
        return self.gguf_file is None and not self.adapters


def resolve(
    name: str, *, revision: str | None = None, trust_remote_code: str | None = None, where: str | None = None
) -> Parent:
    """Return the model that `name` means: ``builtin:NAME``, a run, adapter or model directory, a ``.gguf``
    file, or a hub id, looked for in this order. `revision` is read for hub ids alone. `trust_remote_code` is the commit
    or the digest of the code that may be run.

    Raises UserError, placed at `where`, for what could not be loaded later: nothing of that name, an
    unfinished run, weights that would have to be unpickled, code that the recipe does not trust.
    """
    if not name:
        raise UserError("the model's name is empty: did the command that was to print it fail?", where=where)
    if name.startswith("builtin:"):
        return _builtin(name, where)
    if max(len(part.encode("utf-8", "surrogatepass")) for part in name.split("/")) > 255 or len(name) > 4000:
        raise UserError("no model has a name that long", where=where)
    path = Path(name).expanduser()
    if path.is_dir():
        return _directory(name, path.absolute(), trust_remote_code, where)
    if path.is_file():
        return _gguf(name, path.absolute(), where)
    if _means_a_path(name, path):
        raise UserError(f"{name} is not there.{_nearest(path)}", where=where)
    return _hub(name, revision, trust_remote_code, where)


def resolve_model(settings: Model, where: str | None = None) -> Parent:
    """Return the model of a recipe's `model:` section; raises what `resolve` raises."""
    return resolve(settings.path, revision=settings.revision, trust_remote_code=settings.trust_remote_code, where=where)


def _builtin(name: str, where: str | None) -> Parent:
    known = _builtin_names()
    if name not in known:
        fix = f"built in: {', '.join(known)}"
        raise UserError(f"there is no built-in model {name!r}.{did_you_mean(name, known)}", where=where, fix=fix)
    path = _BUILTIN / name.removeprefix("builtin:")
    return Parent(name, "builtin", str(path), digest_of(path), base_model=name)


def _builtin_names() -> list[str]:
    return sorted(f"builtin:{config.parent.name}" for config in _BUILTIN.glob(f"*/{_CONFIG}"))


def check_whole(parent: Parent, where: str | None = None) -> None:
    """Read all that a run wrote of a model. Raises UserError where it is not what it was when it was written."""
    for path in map(Path, (parent.path, *(adapter.path for adapter in parent.adapters))):
        if (path / MANIFEST).exists() and (why := why_not_whole(path, more=True)):
            raise UserError(f"{path} is damaged: {why}", where=where, fix="make it anew, or take another copy of it")


def _directory(name: str, path: Path, trusted: str | None, where: str | None) -> Parent:
    run = path.parent if path.name == directory.FINAL else path
    if (run / directory.RECIPE).exists():
        return _run(name, run, trusted, where)
    _refuse_unfinished(name, path, where)
    return _weights(name, path, trusted, where)


def _refuse_unfinished(name: str, path: Path, where: str | None) -> None:
    """Raise UserError for what a run has not written to its end: a checkpoint that is not whole, or what lies in the
    run's directory beside its checkpoints and its results."""
    around = next((run for run in list(path.parents)[:3] if (run / directory.INPUTS).exists()), None)
    part = path.relative_to(around).parts if around else ()
    checkpoint = len(part) == 2 and is_named(path)
    if around and not checkpoint and part not in ((directory.FINAL,), (directory.ADAPTER,)):
        raise UserError(f"{name} is no finished model", where=where, fix=f"name the run itself: {around}")
    if (checkpoint or (path / MANIFEST).exists()) and (why := why_not_whole(path, more=not checkpoint, read=False)):
        raise UserError(f"{name} is not whole: {why}", where=where)


def _run(name: str, run: Path, trusted: str | None, where: str | None) -> Parent:
    if not (run / directory.RUN).exists():
        stage = read_recipe(run).get("stage", "STAGE")
        raise UserError(
            f"{name} is an unfinished run",
            where=where,
            fix=f"finish it with: posttrain {stage} {run / directory.RECIPE}",
        )
    _refuse_unfinished(name, run / directory.FINAL, where)
    final = _weights(name, run / directory.FINAL, trusted, where)
    return dataclasses.replace(final, kind="run", run=run, digest=digest_of(run / directory.RUN))


def _weights(name: str, path: Path, trusted: str | None, where: str | None) -> Parent:
    """Return the model or adapter in a directory, with the lineage that lies beside it."""
    files = {file.name for file in path.iterdir()} if path.is_dir() else set()
    if _ADAPTER in files:
        _refuse_pickles(name, files, "adapter_model", where)
        config = _json(path, _ADAPTER, where)
        found = _adapter(name, Adapter(str(path)), config, digest_of(path), trusted, where)
    elif _CONFIG in files:
        _refuse_pickles(name, files, "", where)
        runs_code = check_code(
            name, files, lambda file: _json(path, file, where), lambda: code_digest(path), trusted, where
        )
        found = Parent(name, "directory", str(path), digest_of(path), base_model=name, runs_code=runs_code)
    else:
        raise UserError(f"{name} holds no model: {_looked_for(path)}", where=where, fix=_look_inside(path))
    lineage = _json(path, directory.LINEAGE, where) if directory.LINEAGE in files else []
    if not isinstance(lineage, list) or not lineage or not all(isinstance(each, dict) for each in lineage):
        return found
    return dataclasses.replace(found, lineage=lineage, base_model=str(lineage[0].get("base_model", name)))


def _json(path: Path, file: str, where: str | None) -> Any:
    """Return one of a model's JSON files; raises UserError where it is none."""
    try:
        return directory.read_json(path / file)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path / file} cannot be read: {error}", where=where) from error


def _refuse_pickles(name: str, files: Collection[str], stem: str, where: str | None) -> None:
    """Raise UserError unless weights named `stem`… are there as safetensors."""
    if any(file.startswith(stem) and file.endswith(".safetensors") for file in files) and (
        not stem or f"{stem}.safetensors" in files
    ):
        return
    pickles = sorted(file for file in files if file.endswith((".bin", ".pt", ".pth")))
    ggufs = sorted(file for file in files if file.endswith(".gguf"))
    if ggufs:
        raise UserError(
            f"{name} holds GGUF weights alone", where=where, fix=f"name one of its files: {', '.join(ggufs)}"
        )
    if pickles:
        raise UserError(
            f"{name} holds its weights as pickles ({pickles[0]}), which can run code when they are read",
            where=where,
            fix="convert them to safetensors where you trust them: from_pretrained(A).save_pretrained(B)",
        )
    raise UserError(f"{name} holds no weights: looked for {stem}*.safetensors", where=where)


def _looked_for(path: Path) -> str:
    return (
        f"looked in {path} for {directory.RECIPE} (a run), {_ADAPTER} (an adapter) and {_CONFIG} with "
        "*.safetensors (a model)"
    )


def _look_inside(path: Path) -> str | None:
    """Return which files or directories inside `path` were perhaps meant."""
    marks = (directory.RECIPE, _ADAPTER, _CONFIG)
    inside = sorted(path.iterdir()) if path.is_dir() else []
    meant = [
        str(child) for child in inside if child.suffix == ".gguf" or any((child / mark).exists() for mark in marks)
    ]
    return f"inside it: {', '.join(meant[:5])}" if meant else None


def _adapter(name: str, adapter: Adapter, config: Any, digest: str, trusted: str | None, where: str | None) -> Parent:
    """Return the base of an adapter, found by the name in its configuration, with the adapter on top."""
    config = config if isinstance(config, dict) else {}
    base_name = str(config.get("base_model_name_or_path") or "")
    beside = Path(adapter.path) / base_name
    if not base_name or beside.resolve() == Path(adapter.path).resolve():
        raise UserError(
            f"the adapter {name} does not say what it adapts",
            where=where,
            fix=f"set base_model_name_or_path in its {_ADAPTER}",
        )
    if not Path(base_name).exists() and beside.exists():
        base_name = str(beside)
    base_where = f"{where + ': ' if where else ''}base model of the adapter {name}"
    base = resolve(base_name, revision=config.get("revision"), trust_remote_code=trusted, where=base_where)
    return dataclasses.replace(
        base,
        name=name,
        kind="adapter",
        digest=f"{base.digest}+{digest}",
        adapters=(*base.adapters, adapter),
        run=None,
    )


def _gguf(name: str, path: Path, where: str | None) -> Parent:
    with path.open("rb") as file:
        magic = file.read(4)
    if magic != b"GGUF":
        raise UserError(
            f"{name} is a file, but not a GGUF model",
            where=where,
            fix=f"name the directory it lies in: {path.parent}" if path.suffix == ".safetensors" else None,
        )
    if find_spec("gguf") is None:
        raise UserError(
            "reading a GGUF file needs the package gguf",
            where=where,
            fix='install it with: pip install "posttrain[gguf]"',
        )
    return Parent(name, "gguf", str(path.parent), digest_of(path), base_model=name, gguf_file=path.name)


def _hub(name: str, revision: str | None, trusted: str | None, where: str | None) -> Parent:
    found = hub.find(name, revision, where)
    if found is None:
        near = did_you_mean(f"builtin:{name}", _builtin_names()) or _nearest(Path(name))
        raise UserError(
            f"there is no model {name!r}: no such file or directory, and not on the hub or, offline, in its "
            f"cache.{near}",
            where=where,
        )
    if _ADAPTER in found.files:
        _refuse_pickles(name, found.files, "adapter_model", where)
        config = found.read_json(_ADAPTER)
        return _adapter(name, Adapter(name, found.commit), config, found.commit, trusted, where)
    _refuse_pickles(name, found.files, "", where)
    runs_code = check_code(name, found.files, found.read_json, lambda: found.commit, trusted, where)
    digest = f"{name}@{found.commit}"
    return Parent(name, "hub", name, digest, base_model=name, revision=found.commit, runs_code=runs_code)


def _means_a_path(name: str, path: Path) -> bool:
    """Whether a name that is not there was meant as a path. ``runs/sft`` has a hub id's shape; beside other
    runs it is taken for a mistyped one, not looked for among strangers' models."""
    beside = path.parent.iterdir() if path.parent.is_dir() and "/" in name else ()
    return (
        name.startswith((".", "/", "~"))
        or name.count("/") > 1
        or name.endswith(_FILE_ENDINGS)
        or any((sibling / directory.RECIPE).exists() for sibling in beside)
    )


def _nearest(path: Path) -> str:
    """Return `` Did you mean …?`` among what lies beside a path that is not there."""
    beside = [child.name for child in path.parent.iterdir()] if path.parent.is_dir() else []
    nearest = did_you_mean(path.name, beside)
    return nearest.replace("'", f"'{path.parent}/", 1) if nearest and str(path.parent) != "." else nearest
