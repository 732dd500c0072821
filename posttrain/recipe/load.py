"""A recipe file and the command line's changes become one checked recipe, with the origin of every value."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from posttrain.errors import MOST_ERRORS, UserError, UserErrors, did_you_mean
from posttrain.recipe.explain import explain, unknown_keys, value_at
from posttrain.recipe.overrides import parse_override, with_value
from posttrain.recipe.paths import make_absolute
from posttrain.recipe.schema import Recipe, misfits
from posttrain.recipe.train_keys import check_train
from posttrain.recipe.yaml_lines import Loc, dotted, dump_yaml, read_yaml, undotted

_LARGEST_BYTES = 2_000_000
_TO_START_FROM = "`posttrain recipe list` shows recipes to start from"


@dataclass(frozen=True)
class LoadedRecipe:
    """A valid recipe and the file it came from.

    `origins` maps a dotted key to ``sft.yaml:12``, ``--set``, ``--model`` or ``default``; the key ""
    is the file.
    """

    recipe: Recipe
    path: Path
    origins: dict[str, str]

    def place(self, key: str) -> str:
        """Return where a value comes from, for messages: ``sft.yaml:12 data.train[0].path``.

        A value that was not given is at the nearest place around it that was.
        """
        loc = undotted(key)
        around = (self.origins.get(dotted(loc[:n]), "default") for n in range(len(loc), -1, -1))
        return _place(next(origin for origin in around if origin != "default"), key)


@dataclass
class Draft:
    """A recipe as far as it could be read: the sections that are valid, and the errors of the others."""

    path: Path
    data: dict[str, Any] = field(default_factory=dict)
    origins: dict[Loc, str] = field(default_factory=dict)
    errors: list[UserError] = field(default_factory=list)
    sections: dict[str, Any] = field(default_factory=dict)

    def origin(self, loc: Loc) -> str:
        """Return the origin of the value at `loc`, or of what surrounds it."""
        return next(self.origins[loc[:n]] for n in range(len(loc), -1, -1) if loc[:n] in self.origins)

    def place(self, loc: Loc) -> str:
        """Return the value's origin and its key, for messages."""
        return _place(self.origin(loc), dotted(loc))


def load_recipe(
    path: Path,
    *,
    stage: str | None,
    overrides: Sequence[str] = (),
    model: str | None = None,
    out: str | None = None,
    seed: int | None = None,
) -> LoadedRecipe:
    """Return the recipe at `path` with the command line's changes; raises UserErrors with every error in it.

    `stage` is the command that reads it (None: any). `overrides` are `key=value`. Local data, grader, chat
    template and hostfile paths come out absolute: those in the file are relative to the file, those of
    `overrides` to the working directory, as `out` and `model.path` always are (these two stay as written).
    """
    draft = read_draft(path, stage=stage, overrides=overrides, model=model, out=out, seed=seed)
    if draft.errors:
        raise UserErrors(in_order(draft.errors))
    recipe = Recipe.model_validate_json(json.dumps(draft.data), strict=True)
    origins = {dotted(loc): origin for loc, origin in draft.origins.items()}
    for loc in _leaves(recipe.model_dump(mode="json"), ()):
        given = value_at(draft.data, loc) is not None
        origins.setdefault(dotted(loc), draft.origin(loc) if given else "default")
    return LoadedRecipe(recipe, draft.path, origins)


def read_draft(
    path: Path,
    *,
    stage: str | None = None,
    overrides: Sequence[str] = (),
    model: str | None = None,
    out: str | None = None,
    seed: int | None = None,
) -> Draft:
    """Read as much of a recipe as can be read; raises UserError only where it is no YAML mapping."""
    draft = _read_file(path)
    _apply(draft, overrides, {("model", "path"): model, ("out",): out, ("seed",): seed})
    typed = Path.cwd()
    make_absolute(draft.data, lambda loc: typed if draft.origin(loc) == "--set" else draft.path.parent)
    _validate(draft)
    if "stage" in draft.sections:
        _check_stage(draft, stage, path)
        train = draft.sections.get("train", {})
        draft.errors += check_train(train, draft.sections["stage"], draft.place)
    return draft


def in_order(errors: Sequence[UserError]) -> list[UserError]:
    """Return the errors as one meets them in the file; those without a line, the command line's, first."""

    def line(error: UserError) -> int:
        found = re.search(r":(\d+)(?: |$)", error.where or "")
        return int(found[1]) if found else 0

    return sorted(errors, key=line)


def dump_recipe(recipe: Recipe) -> str:
    """Return the resolved recipe as YAML, every key written out; `load_recipe` reads back the same recipe."""
    return dump_yaml(recipe.model_dump(mode="json"))


def _read_file(path: Path) -> Draft:
    document = read_yaml(_read_text(path), str(path))
    if not isinstance(document.data, dict):
        what = "is empty" if document.data is None else "is not a mapping of keys"
        raise UserError(f"the recipe {what}", where=str(path), fix=_TO_START_FROM)
    # `train:` with nothing under it is no section
    given = {key: value for key, value in document.data.items() if value is not None}
    origins = {loc: f"{path}:{line}" for loc, line in document.lines.items()}
    draft = Draft(path.absolute(), given, {(): f"{path}:1", **origins})
    for loc, line, first in document.duplicates:
        message = f"duplicate key, first given on line {first}"
        draft.errors.append(UserError(message, where=f"{path}:{line} {dotted(loc)}"))
    return draft


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_BYTES + 1)  # and not its size: a pipe or a device tells none
        if len(content) > _LARGEST_BYTES:
            raise UserError("too large to be a recipe", where=str(path))
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"not UTF-8 text (byte {error.start})", where=str(path)) from None
    except OSError as error:
        near = [str(file) for file in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
        reason = "no such recipe" if isinstance(error, FileNotFoundError) else str(error.strerror).lower()
        message = f"{reason}.{did_you_mean(str(path), near)}".removesuffix(".")
        raise UserError(message, where=str(path), fix=_TO_START_FROM) from None


def _apply(draft: Draft, overrides: Sequence[str], options: dict[Loc, Any]) -> None:
    """Apply --set, then --model, --out and --seed; later ones win."""
    for text in overrides:
        try:
            loc, value = parse_override(text)
            draft.data = with_value(draft.data, loc, value)
        except UserError as error:
            draft.errors.append(error)
            continue
        _set_origin(draft, loc, "--set")
    for loc, value in options.items():
        if value is None:
            continue
        try:
            draft.data = with_value(draft.data, loc, value)
        except UserError:
            continue  # the section is no mapping, and validation says so at its own place
        _set_origin(draft, loc, f"--{loc[0]}")


def _set_origin(draft: Draft, loc: Loc, origin: str) -> None:
    """Everything at and below `loc`, and what had to be made above it, now comes from `origin`."""
    draft.origins = {known: o for known, o in draft.origins.items() if known[: len(loc)] != loc}
    for depth in range(1, len(loc)):
        draft.origins.setdefault(loc[:depth], origin)
    draft.origins[loc] = origin


def _validate(draft: Draft) -> None:
    """Fill `sections` and `errors`.

    Validation runs again with unknown keys mended (renamed to the key that was meant, or left out), so that
    they hide no other error.
    """
    data = copy.deepcopy(draft.data)
    while True:
        errors = _schema_errors(data)
        unknown = unknown_keys(errors, data, Recipe)
        if not unknown:
            break
        found = [error for error in errors if error["type"] == "extra_forbidden"]
        draft.errors += explain(found[: MOST_ERRORS + 1], data, Recipe, draft.place)
        for loc, meant in unknown:
            _rename(draft, data, loc, meant)
    broken = {error["loc"][0] for error in errors if error["loc"]}
    draft.errors += explain([error for error in errors if error["loc"]], data, Recipe, draft.place)
    draft.sections = _valid_sections(data, broken)
    draft.errors += [UserError(m, where=draft.place(undotted(key))) for key, m in misfits(draft.sections)]


def _schema_errors(data: dict[str, Any]) -> list[Any]:
    try:
        Recipe.model_validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        return list(error.errors(include_url=False))
    return []


def _rename(draft: Draft, data: dict[str, Any], loc: Loc, meant: str | None) -> None:
    holder = value_at(data, loc[:-1])
    value = holder.pop(loc[-1])
    if meant is not None and meant not in holder:
        holder[meant] = value
        new = (*loc[:-1], meant)
        below = {known: origin for known, origin in draft.origins.items() if known[: len(loc)] == loc}
        draft.origins.update({(*new, *known[len(loc) :]): origin for known, origin in below.items()})


def _valid_sections(data: dict[str, Any], broken: set[Any]) -> dict[str, Any]:
    """Return the recipe's sections but the broken ones, each as its model, defaults filled in."""
    sections = {}
    for name, info in Recipe.model_fields.items():
        if name in broken:
            continue
        if name in data:
            adapter = TypeAdapter(info.rebuild_annotation())
            sections[name] = adapter.validate_json(json.dumps(data[name]), strict=True)
        else:
            sections[name] = info.get_default(call_default_factory=True)
    return sections


def _check_stage(draft: Draft, stage: str | None, path: Path) -> None:
    found = draft.sections["stage"]
    if stage is not None and stage != found:
        message, fix = f"this is a recipe for {found}, not {stage}", f"run it with `posttrain {found} {path}`"
        draft.errors.append(UserError(message, where=draft.place(("stage",)), fix=fix))


def _place(origin: str, key: str) -> str:
    """Return ``sft.yaml:12 seed`` or ``--set seed``; ``--seed`` says it all."""
    return origin if origin.startswith("--") and origin != "--set" else f"{origin} {key}".rstrip()


def _leaves(data: Any, loc: Loc) -> list[Loc]:
    if isinstance(data, dict) and data:
        return [leaf for key, value in data.items() for leaf in _leaves(value, (*loc, key))]
    if isinstance(data, list) and data:
        return [leaf for index, value in enumerate(data) for leaf in _leaves(value, (*loc, index))]
    return [loc]
