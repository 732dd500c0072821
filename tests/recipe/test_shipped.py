"""The recipes that come with posttrain load, and are copied without overwriting anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from posttrain.errors import UserError
from posttrain.recipe.load import load_recipe
from posttrain.recipe.shipped import copy_recipe, list_recipes, recipes_dir

NAMES = sorted(path.relative_to(recipes_dir()).as_posix() for path in recipes_dir().rglob("*.yaml"))


def test_there_are_recipes_for_every_stage():
    stages = {load_recipe(recipes_dir() / name, stage=None).recipe.stage for name in NAMES}
    assert stages == {"sft", "dpo", "kto", "rlvr", "eval"}
    assert len(NAMES) >= 10


@pytest.mark.parametrize("name", NAMES)
def test_it_loads_and_is_called_after_its_stage(name):
    loaded = load_recipe(recipes_dir() / name, stage=None)
    assert Path(name).stem.startswith(loaded.recipe.stage)


def test_every_recipe_is_listed_with_a_description():
    listed = list_recipes()
    assert [name for name, _ in listed] == NAMES
    assert all(len(description) > 20 for _, description in listed)


def test_a_copy_has_every_file_and_loads(tmp_path):
    copies = copy_recipe("quickstart", tmp_path)
    originals = [path for path in (recipes_dir() / "quickstart").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert len(copies) == len(originals) > 5
    copied = tmp_path / "quickstart" / "sft.yaml"
    assert copied.read_bytes() == (recipes_dir() / "quickstart" / "sft.yaml").read_bytes()
    source = load_recipe(copied, stage="sft").recipe.data.train[0].path
    assert Path(source).is_relative_to(tmp_path)
    assert Path(source).is_file()


def test_a_copy_overwrites_nothing(tmp_path):
    (tmp_path / "quickstart").mkdir()
    (tmp_path / "quickstart" / "rlvr.yaml").write_text("mine")
    with pytest.raises(UserError, match=r"quickstart/rlvr\.yaml: already there; nothing is overwritten"):
        copy_recipe("quickstart", tmp_path)
    assert [path.name for path in (tmp_path / "quickstart").iterdir()] == ["rlvr.yaml"]
    assert (tmp_path / "quickstart" / "rlvr.yaml").read_text() == "mine"


@pytest.mark.parametrize("name", ["quikstart", "quikstart/sft.yaml"])
def test_an_unknown_name_is_answered_with_the_nearest(tmp_path, name):
    with pytest.raises(UserError, match=r"no recipe 'quikstart.*'\. Did you mean 'quickstart'\?"):
        copy_recipe(name, tmp_path)


@pytest.mark.parametrize("name", ["", ".", "..", "../posttrain", "/etc", "quickstart/none.yaml"])
def test_only_recipes_can_be_copied(tmp_path, name):
    with pytest.raises(UserError, match="no recipe"):
        copy_recipe(name, tmp_path)
    assert list(tmp_path.iterdir()) == []
