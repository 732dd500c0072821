"""Rows without their duplicates: exact ones, those that differ in case and punctuation, and near ones."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from posttrain.curation.minhash import THRESHOLD, alike, find_near, pack, sketch
from posttrain.curation.normalised import SHINGLE, By, compared
from posttrain.curation.pairs import Pair, Side, lines_of, pair_file, refuse_report
from posttrain.curation.source import each_chunk, marked_lines, records_of
from posttrain.curation.spool import Spool, spool
from posttrain.curation.write import new_file, refuse_existing
from posttrain.data.chunks import Chunk
from posttrain.data.files import shown
from posttrain.data.overlap import marked
from posttrain.data.workers import in_order
from posttrain.recipe.schema import Source

Match = Literal["exact", "normalised", "near"]
Keep = Literal["first", "longest"]

MATCHES: tuple[Match, ...] = get_args(Match)

_CHUNKS_ALONE = 4  # with fewer, starting other processes takes longer than the work
_SHOWN = 3  # clusters in the report
_SIDES = ("stays", "left out")


@dataclass(frozen=True)
class Rule:
    """What makes a row the duplicate of another, and which of them stays. A `match` includes those before it."""

    match: Match = "near"
    by: By = "content"
    threshold: float = THRESHOLD
    keep: Keep = "first"
    same_numbers: bool = False


@dataclass
class Deduplicated:
    """What became of the rows: `left_out` counts them by how they match the row that stays.

    `clusters` are rows that stay for others, `largest` how many go for one of them; `examples` are of different ones.
    """

    path: str
    rule: Rule
    read: int = 0
    written: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    clusters: int = 0
    largest: int = 0
    examples: list[Pair] = field(default_factory=list)
    report_path: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return asdict(self) | {"examples": [pair.as_json(*_SIDES) for pair in self.examples]}


@dataclass
class _Rows:
    """What is kept of every row in memory; its text and its sets of shingles lie on the disk."""

    exact: list[bytes] = field(default_factory=list)
    normalised: list[bytes | None] = field(default_factory=list)
    sketches: list[bytes] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)


def dedup(
    source: Source,
    stage: str,
    out: Path,
    rule: Rule = Rule(),
    *,
    report_to: Path | None = None,
    force: bool = False,
) -> Deduplicated:
    """Write the rows of `source` without duplicates to `out`, as they are, in their order.

    Every row that is left out goes to `report_to` with the one that stays for it; a near duplicate is verified to
    be one. The longest is that of the most characters; of equals the first stays. Raises UserError.
    """
    refuse_existing(out, force=force)
    refuse_report(report_to, force=force)
    done = Deduplicated(str(out), rule, report_path=None if report_to is None else str(report_to))
    rows = _Rows()
    with spool(out.parent) as texts, spool(out.parent) as sets:
        with each_chunk(source, "reading") as chunks:
            tasks = ((chunk, source, stage, rule) for chunk in chunks)
            for made in in_order(_compare, tasks, alone=_CHUNKS_ALONE):
                for exact, normalised, sketched, packed, length, text in made:
                    rows.exact.append(exact)
                    rows.normalised.append(normalised)
                    rows.sketches.append(sketched)
                    rows.lengths.append(length)
                    sets.add(packed)
                    texts.add(text)
        done.read = len(rows.exact)
        stays = _find(rows, sets, rule)
        pairs = (_pair(row, *stays[row], texts, sets) for row in sorted(stays))
        with pair_file(report_to, *_SIDES, title=f"{shown(out)}: rows left out", force=force) as write_pair:
            if report_to is not None:
                for pair in pairs:
                    write_pair(pair)
            marks = np.ones(done.read, np.uint8)
            marks[list(stays)] = 0
            with new_file(out, force=force) as file:
                for line, _ in marked_lines(source, marks, "writing"):
                    file.write_line(line)
        done.written = file.rows
        done.left_out = {match: sum(how == match for _, how in stays.values()) for match in MATCHES}
        sizes = Counter(twin for twin, _ in stays.values())
        done.clusters, done.largest = len(sizes), max(sizes.values(), default=0)
        last = {(how, twin): row for row, (twin, how) in sorted(stays.items(), reverse=True)}
        # Near ones tell the most; of those, the largest clusters.
        best = sorted(last, key=lambda key: (-MATCHES.index(key[0]), -sizes[key[1]], key[1]))[:_SHOWN]
        done.examples = [_pair(last[key], *stays[last[key]], texts, sets) for key in best]
    return done


def report(done: Deduplicated) -> list[str]:
    """What there is to say about it, line by line."""
    said = [line for pair in done.examples for line in lines_of(pair, *_SIDES)]
    left = done.read - done.written
    said.append(f"wrote {done.written:,} of {done.read:,} rows: {left:,} left out")
    said += [f"  {count:,} {_in_words(match)}" for match, count in done.left_out.items() if count]
    if done.clusters:
        said.append(f"  {done.clusters:,} rows stay for them, one for {done.largest:,}")
    if done.report_path:
        said.append(f"all pairs: {shown(done.report_path)}")
    elif left:
        said.append("--report pairs.html shows each with the row that stays")
    return said


def _find(rows: _Rows, sets: Spool, rule: Rule) -> dict[int, tuple[int, Match]]:
    """Each row that is left out, with the one that stays for it, and how they match."""
    order: list[int] = list(range(len(rows.exact)))
    if rule.keep == "longest":
        order.sort(key=lambda row: -rows.lengths[row])
    stays: dict[int, tuple[int, Match]] = {}
    for match, keys in (("exact", rows.exact), ("normalised", rows.normalised)):
        if MATCHES.index(match) <= MATCHES.index(rule.match):
            for row, twin in _same(order, keys).items():
                stays[row] = (twin, "exact" if match == "exact" else "normalised")
            order = [row for row in order if row not in stays]
    if rule.match == "near":
        found = find_near(rows.sketches, sets, order, rule.threshold)
        stays |= {row: (twin, "near") for row, twin in found.items()}
    return {row: _end(row, stays) for row in stays}


def _same(order: Iterable[int], keys: list[Any]) -> dict[int, int]:
    first: dict[bytes, int] = {}
    return {row: twin for row in order if keys[row] and (twin := first.setdefault(keys[row], row)) != row}


def _end(row: int, stays: dict[int, tuple[int, Match]]) -> tuple[int, Match]:
    """What stays for the row in the end, and how they match: the one that stayed at first may itself have gone."""
    how: Match = "exact"
    while row in stays:
        row, step = stays[row]
        how = max(how, step, key=MATCHES.index)
    return row, how


def _pair(row: int, twin: int, how: Match, texts: Spool, sets: Spool) -> Pair:
    (place, text), (other_place, other) = (json.loads(line) for line in texts.read([row, twin]))
    share = alike(*sets.read([row, twin])) if how == "near" else 1.0
    why = f"near, {share:.0%}" if how == "near" else how
    left = Side(other_place, other, marked(other, text, SHINGLE))
    return Pair(why, share, left, Side(place, text, marked(text, other, SHINGLE)))


def _in_words(match: str) -> str:
    says = {"exact": "the same", "normalised": "the same but for case, blanks and punctuation"}
    return says.get(match, "nearly the same")


def _compare(task: tuple[Chunk, Source, str, Rule]) -> list[tuple[bytes, bytes | None, bytes, bytes, int, bytes]]:
    chunk, source, stage, rule = task
    made = []
    for record in records_of(chunk, source, stage):
        row = compared(record, rule.by, same_numbers=rule.same_numbers)
        near = rule.match == "near"
        union = np.union1d(row.prompt, row.answer)
        made.append(
            (
                row.exact,
                row.normalised,
                sketch(union, rule.threshold) if near else b"",
                pack(row.prompt, row.answer) if near else b"",
                len(row.text),
                json.dumps([record.place, row.text]).encode(),
            )
        )
    return made
