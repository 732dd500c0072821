"""Problems held back from a file into one of their own, so that every stage and every eval mean the same ones."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from posttrain.advice.facts import Facts
from posttrain.data.formats import FORMATS, rename_columns
from posttrain.data.identity import prompt_key
from posttrain.data.read import read_rows
from posttrain.data.split import hold_out
from posttrain.errors import UserError


def write_parts(facts: Facts, train: TextIO, dev: TextIO, *, fraction: float, seed: int) -> None:
    """Write the source's problems as they stand, about `fraction` of them to `dev`, all with one prompt to one side.

    Rows that cannot be read are left out. Raises UserError where nothing would be left to train on.
    """
    held = hold_out([key for _, key in _keyed(facts)], fraction, seed, where=facts.source.path)
    for (row, _), out in zip(_keyed(facts), held, strict=True):
        (dev if out else train).write(json.dumps(row, ensure_ascii=False, default=str) + "\n")


def parts_named(split: Sequence[Facts], into: Path) -> dict[int, tuple[Path, Path]]:
    """The two files of each source, by its `id`: ``problems.train.jsonl`` and ``problems.dev.jsonl`` for
    ``problems.jsonl.gz``. Sources of one name are told apart by their folders, then by a number."""
    stems = Counter(_stem(facts.name) for facts in split)
    taken: Counter[str] = Counter()
    parts = {}
    for facts in split:
        stem = _stem(facts.name)
        if stems[stem] > 1:
            stem = f"{Path(facts.source.path).parent.name or 'rows'}-{stem}"
        taken[stem] += 1
        stem += f"-{taken[stem]}" if taken[stem] > 1 else ""
        parts[id(facts)] = (into / f"{stem}.train.jsonl", into / f"{stem}.dev.jsonl")
    return parts


def _stem(name: str) -> str:
    return name.partition(".")[0].replace("*", "all")


def _keyed(facts: Facts) -> Iterator[tuple[dict[str, Any], bytes]]:
    fit, source = facts.fits["rlvr"], facts.source
    read = FORMATS["rlvr"][fit.format].read
    for row, place in read_rows(source.path, subset=source.subset, split=source.split, revision=source.revision):
        try:
            record = read(rename_columns(row, fit.columns, place), place)
        except UserError:
            continue
        yield row, prompt_key(record)
