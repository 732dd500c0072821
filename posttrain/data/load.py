"""From the recipe's `data:` section to checked records: read, convert, sample, split, shuffle."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from posttrain.data.formats import choose_format, rename_columns
from posttrain.data.identity import content_key, digest_of
from posttrain.data.read import read_rows, shown
from posttrain.data.records import Feedback, Problem, Record
from posttrain.data.split import refuse_overlap, split_by_prompt
from posttrain.data.system import with_system
from posttrain.data.usable import why_unusable
from posttrain.errors import UserError
from posttrain.recipe.paths import is_local

if TYPE_CHECKING:
    from posttrain.recipe.schema import Data, Source, SystemPrompt


@dataclass(frozen=True)
class Loaded:
    """The records of each part, what there is to say about them, and a SHA-256 over them in order.

    `problems` are those that sft, dpo and kto look at; of rlvr and eval they are `dev`.
    """

    train: list[Record]
    dev: list[Record]
    unseen: list[Record]
    problems: list[Problem]
    notes: list[str]
    digest: str


def load_data(
    data: Data,
    stage: str,
    *,
    seed: int,
    parts: Collection[str] = ("train", "dev", "problems"),
    place: Callable[[str], str] = str,
) -> Loaded:
    """Read every source of `parts`, and refuse held-out rows that are also training rows.

    Training rows are shuffled by `seed`; held-out rows keep their order. With training rows, the unseen ones
    are read too, for the check. `place` maps a dotted recipe key to the file and line that errors name.
    Raises UserError for a source or a row that cannot be read, and for an overlap.
    """
    notes: list[str] = []
    dev_sources = data.dev if isinstance(data.dev, list) else []
    sources = {"train": data.train, "dev": dev_sources, "unseen": data.unseen, "problems": data.problems}
    fraction = None if data.dev is None or isinstance(data.dev, list) else data.dev.fraction
    with_train = "train" in parts or ("dev" in parts and fraction is not None)
    read = {
        part: _read_part(part, listed, data.system, "rlvr" if part == "problems" else stage, seed, notes, place)
        for part, listed in sources.items()
        if with_train or part in parts
    }
    train, dev, unseen, problems = (read.get(part, []) for part in ("train", "dev", "unseen", "problems"))
    if train:
        random.Random(seed).shuffle(train)
        if fraction is not None:
            train, dev = split_by_prompt(train, fraction, seed, where=place("data.dev"))
            notes.append(f"dev: held out {len(dev):,} of {len(train) + len(dev):,} training rows, by prompt")
        refuse_overlap(train, {"dev": dev, "unseen": unseen, "problems": problems}, place)
        notes += _notes_on_train(train)
    found: dict[str, list[Any]] = {"train": train, "dev": dev, "unseen": unseen, "problems": problems}
    returned = {part: rows if part in parts else [] for part, rows in found.items()}
    return Loaded(**returned, notes=notes, digest=digest_of(returned))


def _read_part(
    part: str,
    sources: Sequence[Source],
    system: str | SystemPrompt | None,
    stage: str,
    seed: int,
    notes: list[str],
    place: Callable[[str], str],
) -> list[Record]:
    records: list[Record] = []
    for index, source in enumerate(sources):
        where = place(f"data.{part}[{index}].path")
        found, title = _read_source(source, stage, where, place(f"data.{part}[{index}].format"))
        kept, dropped = _usable(found, where)
        kept = [with_system(record, system) for record in kept]
        name = shown(source.path) if is_local(source.path, Path()) else source.path
        notes.append(f"{part}: {name}: {_rows(len(found))} of {title}")
        notes += [f"{part}: {name}: left out {_rows(count)}: {why}" for why, count in dropped.items()]
        sampled = _sample(kept, source, random.Random(f"{seed} {part} {index}"))
        if len(sampled) != len(kept):
            notes.append(f"{part}: {name}: took {len(sampled):,} of {len(kept):,}")
        records += sampled
    return records


def _read_source(source: Source, stage: str, where: str, format_where: str) -> tuple[list[Record], str]:
    """Every record of the source, and the title of the format that they were read in."""
    format = None
    records: list[Record] = []
    rows = read_rows(source.path, subset=source.subset, split=source.split, revision=source.revision, where=where)
    for raw, at in rows:
        row = rename_columns(raw, source.columns, at)
        format = format or choose_format(row, stage, source.format, at, format_where)
        records.append(format.read(row, at))
    return records, format.title if format else ""


def _usable(records: list[Record], where: str) -> tuple[list[Record], Counter[str]]:
    kept: list[Record] = []
    dropped: Counter[str] = Counter()
    for record in records:
        why = why_unusable(record)
        if why:
            dropped[why] += 1
        else:
            kept.append(record)
    if not kept:
        reasons = "; ".join(f"{count:,}: {why}" for why, count in dropped.items())
        raise UserError(f"none of the {len(records):,} rows can be used ({reasons})", where=where)
    return kept, dropped


def _sample(records: list[Record], source: Source, rng: random.Random) -> list[Record]:
    """`limit` rows, or `weight` times the rows: whole copies, then a sample for the rest, in file order."""
    if source.limit is not None:
        return _some(records, min(source.limit, len(records)), rng)
    if source.weight is None:
        return records
    copies, rest = divmod(source.weight, 1)
    wanted = round(rest * len(records)) if copies else max(1, round(rest * len(records)))
    return records * int(copies) + _some(records, wanted, rng)


def _some(records: list[Record], count: int, rng: random.Random) -> list[Record]:
    return [records[index] for index in sorted(rng.sample(range(len(records)), count))]


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"


def _notes_on_train(train: list[Record]) -> list[str]:
    notes = []
    repeated = len(train) - len({content_key(record) for record in train})
    if repeated:
        notes.append(f"{repeated:,} of {len(train):,} training rows repeat another one exactly; they are kept")
    labels = Counter(record.label for record in train if isinstance(record, Feedback))
    if labels:
        notes.append(f"labels: {labels[True]:,} up, {labels[False]:,} down")
    if len(labels) == 1:
        side = "up" if labels[True] else "down"
        notes.append(f"warning: every label is {side}: KTO learns from the contrast of up and down")
    return notes
