"""Held-out rows: split off by prompt, and never also training rows."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from posttrain.data.records import Problem, Record
from posttrain.data.view import asked_of, content_keys, prompt_keys
from posttrain.errors import UserError


def hold_out(keys: Sequence[bytes], fraction: float, seed: int, *, where: str | None = None) -> list[bool]:
    """Which rows are held out: about `fraction` of them, rows with one key all on one side.

    Which keys are held out depends on `seed` and the keys alone: most stay when rows are added. Raises UserError
    where nothing would be left to train on.
    """
    rows = Counter(keys)
    if len(rows) < 2:
        raise UserError("a fraction cannot be held out: every row has the same prompt", where=where)
    wanted = max(1, round(fraction * len(keys)))
    held: set[bytes] = set()
    count = 0
    for key in sorted(rows, key=lambda key: hashlib.sha256(f"{seed} ".encode() + key).digest())[:-1]:
        if count >= wanted:  # and one key at least is left to train on
            break
        held.add(key)
        count += rows[key]
    return [key in held for key in keys]


def refuse_overlap(
    train: Sequence[Record], held_out: Mapping[str, Sequence[Record]], place: Callable[[str], str] = str
) -> None:
    """Raise UserError, naming both places, when a held-out row is also a training row.

    A problem is one when any training row asks it, whatever kind of row that is and whatever its system prompt.
    """
    for part, records in held_out.items():
        if not records:
            continue
        if isinstance(records[0], Problem):
            keys = prompt_keys(records)
            trained = {key: row for row, asked in enumerate(asked_of(train)) for key in asked}
        else:
            keys = content_keys(records)
            trained = {key: row for row, key in enumerate(content_keys(train))}
        both = [(row, trained[key]) for row, key in enumerate(keys) if key in trained]
        if both:
            row, twin = both[0]
            raise UserError(
                f"{len(both):,} of {len(records):,} {part} rows are also training rows: "
                f"{records[row].place} is the same as {train[twin].place}",
                where=place(f"data.{part}"),
                fix=f"Take them out of one of the two: scores on {part} would say nothing.",
            )
