"""`data stats`: the figures of each part of what is named, in a terminal or as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console

from posttrain.inspection.opened import PARTS, is_recipe, open_rows
from posttrain.inspection.stats import statistics
from posttrain.inspection.stats_terminal import WIDTH, print_figures
from posttrain.inspection.warn import warnings_of
from posttrain.model.tokenizer import load_tokenizer


def report(
    name: str,
    stdout: TextIO,
    *,
    rows: int | None = None,
    part: str | None = None,
    overrides: Sequence[str] = (),
    model: str | None = None,
    as_json: bool = False,
    **of_source: Any,
) -> None:
    """Print the figures of a source, or of every part of a recipe that has rows (or only `part`).

    `of_source` goes to `open_rows`, which says what is refused with a UserError.
    """
    parts = [part] if part or not is_recipe(name) else _parts(name, overrides, model)
    console = Console(file=stdout, width=WIDTH if not stdout.isatty() else None)
    documents = []
    said = set[str]()
    for each in parts:
        opened = open_rows(name, part=each, overrides=overrides, model=model, **of_source)
        for note in opened.notes:
            if note not in said:
                print(note, file=sys.stderr)
            said.add(note)
        found = statistics(opened, load_tokenizer(opened.parent, opened.model), rows=rows)
        # What loading left out is not among the records any more.
        warnings = [*(note for note in opened.notes if "left out" in note), *warnings_of(found)]
        documents.append({**found, "notes": opened.notes, "warnings": warnings})
        if not as_json:
            print_figures(console, found, warnings)
    if as_json:
        print(json.dumps({"source": name, "parts": documents}, indent=2), file=stdout)


def _parts(name: str, overrides: Sequence[str], model: str | None) -> list[str]:
    from posttrain.recipe.load import load_recipe

    data = load_recipe(Path(name), stage=None, overrides=overrides, model=model).recipe.data
    return [part for part in PARTS if getattr(data, part)]
