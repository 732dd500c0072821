"""Which rows to look at: the first, some at random, one by its number or its place, those that hold a text."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from posttrain.data.records import Record
from posttrain.errors import UserError, did_you_mean


def pick(
    records: Sequence[Record],
    count: int,
    *,
    at: int | None = None,
    place: str | None = None,
    grep: str | None = None,
    seed: int | None = None,
) -> tuple[list[int], int]:
    """The indices of at most `count` records, rising, and how many there are, or say `grep`.

    They are the first ones from number `at` (from 1) or from `place` (``rows.jsonl:137``; its end will do) on, of
    those that say `grep` whatever its case; with `seed` they are drawn at random. Raises UserError where there is none.
    """
    start = 0
    if at is not None:
        if not 1 <= at <= len(records):
            raise UserError(f"there is no row {at:,}: there are {len(records):,}", where="--at")
        start = at - 1
    if place is not None:
        start = _placed(records, place)
    if seed is None and grep is None:
        return list(range(len(records))[start : start + count]), len(records)
    candidates = range(start, len(records)) if grep is None else _saying(records, grep, start)
    rng, seen = random.Random(seed or 0), 0
    picked: list[int] = []
    for seen, index in enumerate(candidates, 1):
        if len(picked) < count:
            picked.append(index)
        elif seed is not None and (slot := rng.randrange(seen)) < count:  # Vitter's reservoir: each as likely
            picked[slot] = index
    if not picked:
        raise UserError(f"no row says {grep!r}", where="--grep")
    return sorted(picked), seen


def _placed(records: Sequence[Record], place: str) -> int:
    for index, record in enumerate(records):
        if record.place == place or record.place.endswith(f"/{place}"):
            return index
    near = did_you_mean(place, (record.place for record in records[:1000]))
    raise UserError(
        f"no row is from {place}.{near}",
        where="--row",
        fix=f"The first is from {records[0].place}. Rows that were left out have no place here." if records else None,
    )


def _saying(records: Sequence[Record], text: str, start: int) -> Iterator[int]:
    wanted = text.casefold()
    for index in range(start, len(records)):
        said = asdict(records[index])
        if wanted in json.dumps(said, ensure_ascii=False, default=str).casefold() or wanted in _plain(said):
            yield index


def _plain(said: object) -> str:
    """Every string in `said`, one a line: JSON would spell line breaks and quotes otherwise."""
    if isinstance(said, dict):
        return "\n".join(_plain(value) for value in said.values())
    if isinstance(said, list):
        return "\n".join(map(_plain, said))
    return str(said).casefold()
