"""The recipes that come with posttrain: listing them, and copying one to start from."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

import posttrain
from posttrain.errors import UserError, did_you_mean


class Shipped(NamedTuple):
    """One recipe: ``quickstart/sft.yaml`` and its first comment line."""

    name: str
    description: str


def recipes_dir() -> Path:
    """Return the folder of the shipped recipes: in the installed package, or beside it in the repository."""
    package = Path(posttrain.__file__).parent
    found = next((folder for folder in (package / "recipes", package.parent / "recipes") if folder.is_dir()), None)
    if found is None:
        raise UserError("the recipes are not installed with posttrain", fix="install posttrain again")
    return found


def list_recipes() -> list[Shipped]:
    """Return every shipped recipe, by folder and name."""
    root = recipes_dir()
    return [Shipped(file.relative_to(root).as_posix(), _first_comment(file)) for file in sorted(root.glob("*/*.yaml"))]


def copy_recipe(name: str, to: Path) -> list[Path]:
    """Copy a recipe's folder with its data into the directory `to`; returns the files made.

    `name` is a folder (`quickstart`) or a recipe in it (`quickstart/sft.yaml`). Raises UserError, before
    anything is written, for an unknown name and when one of the files is already there.
    """
    root = recipes_dir()
    group = name.split("/")[0]
    groups = sorted(path.name for path in root.iterdir() if path.is_dir())
    if group not in groups or not (root / name).exists():
        raise UserError(f"no recipe '{name}'.{did_you_mean(group, groups)}", fix=f"there are: {', '.join(groups)}")
    files = [file for file in sorted((root / group).rglob("*")) if file.is_file() and "__pycache__" not in file.parts]
    copies = [to / file.relative_to(root) for file in files]
    present = next((copy for copy in copies if copy.exists()), None)
    if present is not None:
        raise UserError("already there; nothing is overwritten", where=str(present), fix="name another directory")
    for file, copy in zip(files, copies, strict=True):
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
    return copies


def _first_comment(file: Path) -> str:
    lines = file.read_text(encoding="utf-8").splitlines()
    return next((line.lstrip("# ").rstrip() for line in lines if line.startswith("#") and line.strip("# ")), "")
