"""From what a user names, a source of rows or a recipe, to the records and what they are tokenized with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posttrain.data.load import load_data
from posttrain.data.records import Record
from posttrain.endpoint import parse_endpoint
from posttrain.errors import UserError
from posttrain.inspection.stage import stage_of
from posttrain.model.resolve import Parent, resolve_model
from posttrain.recipe.load import load_recipe
from posttrain.recipe.schema import Data, Model, Recipe, Source
from posttrain.stages.arguments import token_settings

PARTS = ("train", "dev", "unseen", "problems")
BARE_MODEL = "builtin:tiny"


@dataclass(frozen=True)
class Opened:
    """The records of one part, and what a training run would tokenize them with.

    `stage` says how they are read: ``rlvr`` for a recipe's `problems`, whatever its own stage is. `settings` are the
    keyword arguments of ``tokenize.OF_STAGE[stage]``. `parent` and `model` are what ``load_tokenizer`` takes.
    `notes` are lines for stderr: what was taken for granted, then what loading has to say.
    """

    name: str
    stage: str
    part: str | None
    records: Sequence[Record]
    settings: dict[str, Any]
    parent: Parent
    model: Model
    notes: list[str]


def is_recipe(name: str) -> bool:
    """Whether `name` is a recipe rather than a source of rows."""
    return name.lower().endswith((".yaml", ".yml"))


def open_rows(
    name: str,
    *,
    stage: str | None = None,
    part: str | None = None,
    overrides: Sequence[str] = (),
    model: str | None = None,
    max_length: int | None = None,
    subset: str | None = None,
    split: str | None = None,
    revision: str | None = None,
    columns: Sequence[str] = (),
    format: str | None = None,
) -> Opened:
    """What the command line names: a recipe where `name` ends in .yaml or .yml, else a source.

    `columns` are ``ours=theirs``. Raises UserError for an option that goes with the other of the two, and for what
    `open_recipe` and `open_source` refuse.
    """
    of_source = {
        "--stage": stage,
        "--subset": subset,
        "--split": split,
        "--revision": revision,
        "--columns": columns,
        "--format": format,
    }
    of_recipe = {"--part": part, "--set": overrides}
    given = [option for option, value in (of_source if is_recipe(name) else of_recipe).items() if value]
    if given:
        kind, other = ("a recipe", "a source") if is_recipe(name) else ("a source", "a recipe")
        raise UserError(f"goes with {other}, and {name} is {kind}", where=given[0], fix="Leave it out.")
    if is_recipe(name):
        return open_recipe(Path(name), part=part, overrides=overrides, model=model, max_length=max_length)
    source = Source(
        path=name,
        subset=subset,
        split=split or "train",
        revision=revision,
        columns=parse_columns(columns),
        format=format or "auto",
    )
    return open_source(source, stage=stage, model=model, max_length=max_length)


def open_recipe(
    path: Path,
    *,
    part: str | None = None,
    overrides: Sequence[str] = (),
    model: str | None = None,
    max_length: int | None = None,
) -> Opened:
    """One part of a recipe's rows; by default `train`, in eval recipes `dev` or else `unseen`.

    Training rows come in the order that the recipe's seed shuffles them to. Raises UserError for a part that the
    recipe does not have, and for whatever `load_recipe`, `resolve` and `load_data` refuse.
    """
    loaded = load_recipe(path, stage=None, overrides=overrides, model=model)
    recipe = loaded.recipe
    part = part or _first_part(recipe)
    _check_part(recipe, part, loaded.place(f"data.{part}"))
    parent = _parent(recipe.model, loaded.place("model.path"))
    rows = load_data(recipe.data, recipe.stage, seed=recipe.seed, parts=(part,), place=loaded.place)
    stage = "rlvr" if part == "problems" else recipe.stage
    notes = [f"{path}: {part} rows as {recipe.model.path} reads them", *rows.notes]
    settings = token_settings(recipe, stage, max_length)
    return Opened(str(path), stage, part, getattr(rows, part), settings, parent, recipe.model, notes)


def open_source(
    source: Source, *, stage: str | None = None, model: str | None = None, max_length: int | None = None
) -> Opened:
    """Every row of a file, a glob or a hub data set, in its order.

    Without `stage`, the columns of the first row say for which it is; without `model`, the built-in one's tokenizer is
    taken; without `max_length`, the one that recipes of the stage begin with. Raises UserError.
    """
    stage, notes = stage_of(stage, source)
    if model is None:
        notes.append(f"tokenizer: {BARE_MODEL}; --model names another")
    settings = Model(path=model or BARE_MODEL)
    parent = _parent(settings, "--model")
    # As held-out rows: those keep their order.
    data = Data(dev=[source])
    rows = load_data(data, stage, seed=0, parts=("dev",), place=_option)
    notes += [note.removeprefix("dev: ") for note in rows.notes]
    recipe = Recipe.model_construct(stage=stage, data=data, model=settings)
    return Opened(
        source.path, stage, None, rows.dev, token_settings(recipe, stage, max_length), parent, settings, notes
    )


def parse_columns(given: Sequence[str]) -> dict[str, str]:
    """``ours=theirs`` each, as a source's `columns`. Raises UserError."""
    pairs = [text.partition("=") for text in given]
    for (ours, _, theirs), text in zip(pairs, given, strict=True):
        if not ours or not theirs:
            raise UserError("not of the form ours=theirs", where=f"--columns {text}", fix="--columns prompt=question")
    return {ours: theirs for ours, _, theirs in pairs}


def _first_part(recipe: Recipe) -> str:
    if recipe.stage != "eval":
        return "train"
    return "dev" if recipe.data.dev else "unseen"


def _check_part(recipe: Recipe, part: str, where: str) -> None:
    if part not in PARTS:
        raise UserError(f"there is no part {part!r}", where="--part", fix=f"Parts: {', '.join(PARTS)}.")
    if not getattr(recipe.data, part):
        there = [name for name in PARTS if getattr(recipe.data, name)]
        raise UserError(f"the recipe has no {part} rows", where=where, fix=f"--part {' or '.join(there)}")


def _parent(settings: Model, where: str) -> Parent:
    """The model whose tokenizer reads the rows; a tokenizer without a model will do. Raises UserError."""
    fix = "--model NAME takes another model's tokenizer"
    if parse_endpoint(settings.path):
        raise UserError(f"{settings.path} is an endpoint, and its tokenizer is not here", where=where, fix=fix)
    folder = Path(settings.path).expanduser()
    if (folder / "tokenizer_config.json").exists() and not (folder / "config.json").exists():
        return Parent(settings.path, "directory", str(folder), digest="", base_model=settings.path)
    try:
        return resolve_model(settings, where)
    except UserError as error:
        raise UserError(error.message, where=error.where, fix=f"{error.fix}; {fix}" if error.fix else fix) from error


def _option(key: str) -> str:
    """What the command line calls a key of the recipe."""
    name = key.rpartition(".")[2]
    return "--format" if name == "format" else "SOURCE"
