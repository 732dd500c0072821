"""Held-out rows: split off by prompt, and never also training rows."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence

from posttrain.data.identity import asked_keys, content_key, prompt_key
from posttrain.data.records import Problem, Record
from posttrain.errors import UserError


def split_by_prompt(
    records: Sequence[Record], fraction: float, seed: int, *, where: str | None = None
) -> tuple[list[Record], list[Record]]:
    """``(train, dev)``: about `fraction` of the rows in dev, rows with one prompt all on one side.

    Which prompts are held out depends on `seed` and the prompts alone: most stay when rows are added. dev has
    each record once, however often it was copied. Raises UserError where nothing would be left to train on.
    """
    groups: dict[bytes, list[Record]] = {}
    for record in records:
        groups.setdefault(prompt_key(record), []).append(record)
    if len(groups) < 2:
        raise UserError("a fraction cannot be held out: every row has the same prompt", where=where)
    wanted = max(1, round(fraction * len(records)))
    ranked = sorted(groups, key=lambda key: hashlib.sha256(f"{seed} ".encode() + key).digest())
    held: dict[int, Record] = {}  # by identity: the copies that a weight makes are one object
    rows = 0
    for key in ranked[:-1]:  # one prompt at least is left to train on
        if rows >= wanted:
            break
        held.update((id(record), record) for record in groups[key])
        rows += len(groups[key])
    train = [record for record in records if id(record) not in held]
    return train, list(held.values())


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
            key_of = prompt_key
            trained = {key: record for record in train for key in asked_keys(record)}
        else:
            key_of = content_key
            trained = {key_of(record): record for record in train}
        both = [(record, trained[key]) for record in records if (key := key_of(record)) in trained]
        if both:
            record, twin = both[0]
            raise UserError(
                f"{len(both):,} of {len(records):,} {part} rows are also training rows: "
                f"{record.place} is the same as {twin.place}",
                where=place(f"data.{part}"),
                fix=f"Take them out of one of the two: scores on {part} would say nothing.",
            )
