"""Training rows without those that nearly say a held-out one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from posttrain.curation.pairs import Pair, Side, lines_of, pair_file, refuse_report
from posttrain.curation.source import each_chunk, marked_lines, name_of, records_of
from posttrain.curation.write import new_file, refuse_existing
from posttrain.data.chunks import Chunk
from posttrain.data.files import shown
from posttrain.data.formats import FORMATS, choose_format, rename_columns
from posttrain.data.overlap import NGRAM, THRESHOLD, Fields, Index, Match, make_index, marked, matches, turns_of
from posttrain.data.read import read_rows
from posttrain.data.workers import in_order
from posttrain.errors import UserError
from posttrain.recipe.schema import Source

_CHUNKS_ALONE = 4  # with fewer, starting other processes takes longer than the work
_SHOWN = 3  # pairs in the report
_SIDES = ("held out", "training")

Rows = tuple[Source, str]
"""A source, and the stage that its rows are for."""


@dataclass(frozen=True)
class Rule:
    """When a held-out row and a training row overlap (data/overlap.py)."""

    ngram: int = NGRAM
    threshold: float = THRESHOLD
    fields: Fields = "prompt"
    same_numbers: bool = False


@dataclass
class HeldOut:
    """A held-out source: its rows, and how many of them some training row overlaps with."""

    path: str
    rows: int = 0
    overlapping: int = 0


@dataclass
class Decontaminated:
    """What became of the training rows; `worst` are the pairs that overlap most, of different held-out rows."""

    path: str
    rule: Rule
    read: int = 0
    written: int = 0
    held_out: list[HeldOut] = field(default_factory=list)
    worst: list[Pair] = field(default_factory=list)
    report_path: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return asdict(self) | {"worst": [pair.as_json(*_SIDES) for pair in self.worst]}


@dataclass(frozen=True)
class _Place:
    place: str
    text: str


def decontaminate(
    train: Sequence[Rows],
    held_out: Sequence[Rows],
    out: Path,
    rule: Rule = Rule(),
    *,
    report_to: Path | None = None,
    force: bool = False,
) -> Decontaminated:
    """Write the rows of `train` that overlap with no row of `held_out` to `out`, as they are, in their order.

    Every training row that is left out goes to `report_to` with the held-out row that it overlaps with most. Memory
    holds the held-out rows and a byte for each training row. Raises UserError.
    """
    refuse_existing(out, force=force)
    refuse_report(report_to, force=force)
    if len(train) > 1:
        _refuse_mixture(train)
    done = Decontaminated(str(out), rule, report_path=None if report_to is None else str(report_to))
    asked: list[_Place] = []
    texts: list[list[str]] = []
    of_source: list[int] = []
    for number, (source, stage) in enumerate(held_out):
        done.held_out.append(HeldOut(shown(source.path)))
        with each_chunk(source, "reading") as chunks:
            for record in (record for chunk in chunks for record in records_of(chunk, source, stage)):
                texts.append(turns_of(record, rule.fields))
                asked.append(_Place(record.place, "\n".join(texts[-1])))
                of_source.append(number)
                done.held_out[-1].rows += 1
    index = make_index(texts, ngram=rule.ngram, threshold=rule.threshold, same_numbers=rule.same_numbers)
    best: dict[int, tuple[float, _Place]] = {}
    with pair_file(report_to, *_SIDES, title=f"{shown(out)}: rows left out", force=force) as write_pair:
        stays = []
        for source, stage in train:
            marks = bytearray()
            with each_chunk(source, "comparing") as chunks:
                tasks = ((chunk, source, stage, rule.fields) for chunk in chunks)
                compared = in_order(_compare, tasks, alone=_CHUNKS_ALONE, prepare=_hold, given=(index,))
                for row in (row for rows in compared for row in rows):
                    marks.append(row is None)
                    if row is None:
                        continue
                    found, own = row
                    match = max(found, key=lambda each: (each.share, -each.row))
                    if report_to is not None:
                        write_pair(_pair(asked[match.row], own, match.share, rule.ngram))
                    for each in found:
                        if each.row not in best or each.share > best[each.row][0]:
                            best[each.row] = (each.share, own)
            stays.append(np.frombuffer(marks, np.uint8))
            done.read += len(marks)
        _write(train, stays, out, done, force)
    for at in best:
        done.held_out[of_source[at]].overlapping += 1
    worst = sorted(best, key=lambda at: (-best[at][0], at))[:_SHOWN]
    done.worst = [_pair(asked[at], best[at][1], best[at][0], rule.ngram) for at in worst]
    return done


def report(done: Decontaminated) -> list[str]:
    """What there is to say about it, line by line."""
    said = []
    for part in done.held_out:
        share = part.overlapping / part.rows
        said.append(f"{part.path}: {part.overlapping:,} of {part.rows:,} rows overlap ({share:.1%})")
    for pair in done.worst:
        said += lines_of(pair, *_SIDES)
    left = done.read - done.written
    said.append(f"wrote {done.written:,} of {done.read:,} training rows: {left:,} left out")
    if done.report_path:
        said.append(f"all pairs: {shown(done.report_path)}")
    elif left:
        said.append("--report pairs.html shows each with what it overlaps with")
    return said


def _write(train: Sequence[Rows], stays: list[np.ndarray], out: Path, done: Decontaminated, force: bool) -> None:
    if not any(marks.any() for marks in stays):
        raise UserError(f"every one of the {done.read:,} training rows overlaps", where=name_of(train[0][0]))
    with new_file(out, force=force) as file:
        for (source, _), marks in zip(train, stays, strict=True):
            for line, _ in marked_lines(source, marks, "writing"):
                file.write_line(line)
    done.written = file.rows


def _pair(asked: _Place, own: _Place, share: float, ngram: int) -> Pair:
    return Pair(
        f"{share:.0%}",
        share,
        Side(asked.place, asked.text, marked(asked.text, own.text, ngram)),
        Side(own.place, own.text, marked(own.text, asked.text, ngram)),
    )


def _refuse_mixture(train: Sequence[Rows]) -> None:
    """Raise UserError for sources whose rows one file cannot hold: its format is found from its first row."""
    formats = []
    for source, stage in train:
        raw, place = next(
            iter(read_rows(source.path, subset=source.subset, split=source.split, revision=source.revision))
        )
        format = choose_format(rename_columns(raw, source.columns, place), stage, source.format, place)
        formats.append(next(key for key, each in FORMATS[stage].items() if each is format))
        if formats[-1] != formats[0]:
            raise UserError(
                f"rows of {formats[-1]}, and those of {name_of(train[0][0])} are {formats[0]}",
                where=name_of(source),
                fix="Go over one source at a time.",
            )


_INDEX: list[Index] = []  # of this process


def _hold(index: Index) -> None:
    _INDEX[:] = [index]


def _compare(task: tuple[Chunk, Source, str, Fields]) -> list[tuple[list[Match], _Place] | None]:
    """Of each row None or, where it overlaps, with which rows, and what it says."""
    chunk, source, stage, fields = task
    records = list(records_of(chunk, source, stage))
    texts = [turns_of(record, fields) for record in records]
    found: list[tuple[list[Match], _Place] | None] = []
    for record, text, matched in zip(records, texts, matches(_INDEX[0], texts), strict=True):
        found.append((matched, _Place(record.place, "\n".join(text))) if matched else None)
    return found
