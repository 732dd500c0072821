"""Rows to look at, the tokenizer of the built-in model, and a larger family with tools."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from posttrain.model.resolve import resolve
from posttrain.model.tokenizer import load_tokenizer
from posttrain.recipe.schema import Model


@pytest.fixture(scope="session")
def tiny() -> Any:
    """The tokenizer of builtin:tiny."""
    return load_tokenizer(resolve("builtin:tiny"), Model())


@pytest.fixture(scope="session")
def qwen3(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The same tokenizer with Qwen 3's template, which writes tools and thinking."""
    from copy import deepcopy

    made = deepcopy(tiny)
    made.chat_template = (files("trl") / "chat_templates" / "qwen3.jinja").read_text(encoding="utf-8")
    return made


@pytest.fixture
def rows_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Write rows to rows.jsonl in a working directory of the test's own; return that name."""
    monkeypatch.chdir(tmp_path)

    def write(*rows: dict[str, Any]) -> str:
        Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return "rows.jsonl"

    return write
