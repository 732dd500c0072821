"""A source to parts that share no prompt, and no value of a column: training rows, and rows to test on."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from posttrain.curation.groups import assign, groups_of
from posttrain.curation.source import each_chunk, marked_lines, name_of, value_of
from posttrain.curation.write import new_file, refuse_existing
from posttrain.data.chunks import Chunk, rows_of
from posttrain.data.formats import choose_format, rename_columns
from posttrain.data.identity import prompt_key
from posttrain.data.records import Feedback
from posttrain.data.workers import in_order
from posttrain.errors import UserError
from posttrain.recipe.schema import Source

_CHUNKS_ALONE = 4  # with fewer, starting other processes takes longer than the work


@dataclass(frozen=True)
class Part:
    """A part's file, its rows and groups, and of thumbs how many are up."""

    name: str
    path: str
    rows: int
    groups: int
    up: int | None

    def as_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return asdict(self)


def split(
    source: Source,
    stage: str,
    out: Path,
    parts: Mapping[str, float],
    *,
    by: str | None = None,
    suffix: str = ".jsonl",
    seed: int = 0,
    force: bool = False,
) -> list[Part]:
    """Write each part's rows, as they are and in their order, to ``OUT/NAME.jsonl``.

    Rows with one prompt, or one value of the column `by`, are in one part. Thumbs up and down are shared out alike.
    Raises UserError for rows that cannot be read for `stage`, and where a part would be empty.
    """
    paths = [out / (name + suffix) for name in parts]
    for path in paths:
        refuse_existing(path, force=force)
    prompts, others, labels = _keys(source, stage, by)
    groups = groups_of(prompts, others)
    part_of_group, part_of_row = assign(groups, list(parts.values()), seed, labels)
    rows, count = (np.bincount(each, minlength=len(parts)).tolist() for each in (part_of_row, part_of_group))
    if 0 in rows:
        together = "prompt" if by is None else f"prompt or {by}"
        raise UserError(
            f"{list(parts)[rows.index(0)]} would have no row: "
            f"the {len(prompts):,} rows are {len(groups.keys):,} groups that share a {together}",
            where=name_of(source),
            fix="Ask for a larger share" + (", or leave --by out." if by else ", or for fewer parts."),
        )
    with ExitStack() as stack:
        files = [stack.enter_context(new_file(path, force=force)) for path in paths]
        for line, mark in marked_lines(source, part_of_row + 1, "writing the parts of"):
            files[mark - 1].write_line(line)
    up = [None] * len(parts) if labels is None else np.bincount(part_of_row, labels, len(parts)).astype(int).tolist()
    return [Part(*each) for each in zip(parts, map(str, paths), rows, count, up, strict=True)]


def report(parts: Sequence[Part]) -> list[str]:
    """A table of the parts."""
    width = max(map(len, ["part", *(part.name for part in parts)]))
    total = sum(part.rows for part in parts)
    lines = [f"{'part':{width}}  {'rows':>11}  {'share':>6}  {'groups':>11}" + ("  up" if _thumbs(parts) else "")]
    for part in parts:
        up = "" if part.up is None else f"  {part.up / part.rows:.1%}"
        lines.append(f"{part.name:{width}}  {part.rows:>11,}  {part.rows / total:>6.1%}  {part.groups:>11,}{up}")
    return lines


def parse_parts(text: str) -> dict[str, float]:
    """``train=0.9,dev=0.1`` as names with their shares, which add up to 1. Raises UserError."""
    parts: dict[str, float] = {}
    for item in text.split(","):
        name, _, share = item.strip().partition("=")
        try:
            value = float(share)
        except ValueError:
            value = 0.0
        if not re.fullmatch(r"[\w-]+", name) or not 0 < value < 1 or name in parts:
            raise UserError(f"{item.strip()!r} is not a name and a share", where="--parts", fix="train=0.9,dev=0.1")
        parts[name] = value
    if abs(sum(parts.values()) - 1) > 1e-6:
        raise UserError(
            f"the shares add up to {sum(parts.values()):g}, not to 1", where="--parts", fix="train=0.9,dev=0.1"
        )
    return parts


def _thumbs(parts: Sequence[Part]) -> bool:
    return any(part.up is not None for part in parts)


def _keys(source: Source, stage: str, by: str | None) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Of each row the digest of its prompt, of its `by` (of its prompt again where it has none), and its thumb."""
    prompts, others, labels = bytearray(), bytearray(), bytearray()
    found = 0
    with each_chunk(source, "reading") as chunks:
        tasks = ((chunk, source.columns, stage, source.format, by) for chunk in chunks)
        for of_prompts, of_others, of_labels, with_by in in_order(_keys_of_chunk, tasks, alone=_CHUNKS_ALONE):
            prompts += of_prompts
            others += of_others
            labels += of_labels
            found += with_by
    if by is not None and not found:
        raise UserError(f"no row has a value of {by}", where="--by", fix="Name a column, or `outer.inner` inside one.")
    return (
        np.frombuffer(prompts, dtype="V32"),
        np.frombuffer(others, dtype="V32") if by is not None else None,
        np.frombuffer(labels, dtype=bool) if labels else None,
    )


def _keys_of_chunk(task: tuple[Chunk, dict[str, str], str, str, str | None]) -> tuple[bytes, bytes, bytes, int]:
    chunk, columns, stage, format_name, by = task
    prompts, others, labels = bytearray(), bytearray(), bytearray()
    format, found = None, 0
    for raw, place in rows_of(chunk):
        row = rename_columns(raw, columns, place)
        format = format or choose_format(row, stage, format_name, place, "--format")
        record = format.read(row, place)
        key = prompt_key(record)
        prompts += key
        if isinstance(record, Feedback):
            labels.append(record.label)
        if by is not None:
            value = value_of(row, by)
            found += value is not None
            others += key if value is None else hashlib.sha256(json.dumps(value, sort_keys=True).encode()).digest()
    return bytes(prompts), bytes(others), bytes(labels), found
