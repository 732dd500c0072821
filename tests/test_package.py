"""What `pip install .` gives: the same tool, with its recipes and the built-in model inside."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_wheel_carries_recipes_and_the_builtin_model(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(command, check=True, timeout=300)
    (wheel,) = tmp_path.glob("*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    recipes = {f"posttrain/recipes/{path.relative_to(ROOT / 'recipes')}" for path in ROOT.glob("recipes/**/*.yaml")}
    assert len(recipes) >= 10
    assert recipes <= inside
    assert "posttrain/recipes/quickstart/data/sft.jsonl" in inside
    model = {
        f"posttrain/builtin/tiny/{name}" for name in ("model.safetensors", "config.json", "tokenizer.json", "README.md")
    }
    assert model <= inside
    assert not any("__pycache__" in name or name.startswith("tests/") for name in inside)


def test_the_version_is_said_once() -> None:
    from importlib.metadata import version

    from posttrain import __version__

    assert version("posttrain") == __version__
