"""Held-out rows: split off by prompt, and never also training rows."""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from posttrain.data.records import Problem, Record
from posttrain.data.view import asked_of, content_keys, prompt_keys
from posttrain.errors import UserError


def hold_out(keys: Sequence[bytes], fraction: float, seed: int, *, where: str | None = None) -> list[bool]:
    """Which rows are held out: about `fraction` of them, rows with one key all on one side.

    Which keys are held out depends on `seed` and the keys alone: most stay when rows are added. A key with more
    than twice the rows that are wanted stays in training, unless all are so large: then the smallest is held out.
    Raises UserError where nothing would be left to train on.
    """
    rows = Counter(keys)
    if len(rows) < 2:
        raise UserError(
            "a fraction cannot be held out: every row has the same prompt, or is linked to all others by prompts and "
            "groups that they share",
            where=where,
            fix="Split by the prompt alone, or give held-out rows of their own.",
        )
    wanted = max(1, round(fraction * len(keys)))
    held: set[bytes] = set()
    count = 0
    salt = f"{seed} ".encode()
    small = [key for key, count in rows.items() if count <= 2 * wanted] or [min(rows, key=lambda key: (rows[key], key))]
    most = min(wanted, len(rows) - 1)  # one key at least is left to train on
    for key in heapq.nsmallest(most, small, key=lambda key: hashlib.sha256(salt + key).digest()):
        if count >= wanted:
            break
        held.add(key)
        count += rows[key]
    return [key in held for key in keys]


def join_groups(prompts: Sequence[bytes], groups: Sequence[str | None]) -> list[bytes]:
    """One key a row: the same for rows that share a prompt or a group, directly or through other rows.

    A prompt that two users asked joins all that either of them said. Rows without a group (None) are joined by
    their prompts alone. The key is the smallest prompt key that is joined, whatever the order of the rows.
    """
    parent: dict[bytes, bytes] = {}

    def root(node: bytes) -> bytes:
        top = node
        while (above := parent.setdefault(top, top)) != top:
            top = above
        while (above := parent[node]) != top:
            parent[node], node = top, above
        return top

    prompt_of: dict[str, bytes] = {}  # some prompt of the group; prompts alone are nodes
    for prompt, group in zip(prompts, groups, strict=True):
        mine = root(prompt)
        if group is None:
            continue
        other = root(prompt_of.setdefault(group, prompt))
        if mine != other:
            low, high = sorted((mine, other))
            parent[high] = low
    return [root(prompt) for prompt in prompts]


def refuse_overlap(
    train: Sequence[Record], held_out: Mapping[str, Sequence[Record]], place: Callable[[str], str] = str
) -> None:
    """Raise UserError, naming both places, when a held-out row is also a training row.

    A problem is one when any training row asks it, whatever kind of row that is and whatever its system prompt.
    """
    for part, records in held_out.items():
        if not records:
            continue
        asked = isinstance(records[0], Problem)
        keys = (prompt_keys if asked else content_keys)(records).tolist()
        held = {key: row for row, key in reversed(list(enumerate(keys)))}
        trained = asked_of(train) if asked else ([key] for key in content_keys(train).tolist())
        twins = {held[key]: row for row, own in enumerate(trained) for key in own if key in held}
        if twins:
            row = min(twins)
            both = sum(held[key] in twins for key in keys)
            raise UserError(
                f"{both:,} of {len(records):,} {part} rows are also training rows: "
                f"{records[row].place} is the same as {train[twins[row]].place}",
                where=place(f"data.{part}"),
                fix=f"Take them out of one of the two: scores on {part} would say nothing. "
                "`posttrain data decontaminate RECIPE --out FILE` writes the training rows without them.",
            )
