"""From the recipe's `data:` section to checked records: read, convert, sample, split, shuffle."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

from posttrain.data.convert import Counts, convert_source
from posttrain.data.files import shown
from posttrain.data.identity import digest_of
from posttrain.data.mixture import draw, random_state, recipe_rows
from posttrain.data.records import RECORD_OF_STAGE, Feedback, Problem, Record
from posttrain.data.split import hold_out, join_groups, refuse_overlap
from posttrain.data.stream import Stream, Streamed
from posttrain.data.view import Records, content_keys, open_stored, prompt_keys
from posttrain.errors import UserError
from posttrain.recipe.schema import Fraction

if TYPE_CHECKING:
    from posttrain.recipe.schema import Data, Source


@dataclass(frozen=True)
class Loaded:
    """The records of each part, what there is to say about them, and a SHA-256 over them in order.

    The records are read from their files when they are asked for. `problems` are those that sft, dpo and kto look
    at; of rlvr and eval they are `dev`. Where the training rows are streamed, `train` is empty.
    """

    train: Sequence[Record]
    dev: Sequence[Record]
    unseen: Sequence[Record]
    problems: Sequence[Problem]
    notes: list[str]
    digest: str
    stream: Stream | None = None


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
    share = data.dev if isinstance(data.dev, Fraction) else None
    fraction = share.fraction if share else None
    with_train = "train" in parts or ("dev" in parts and fraction is not None)
    found: dict[str, Any] = {
        part: _read_part(part, listed, data, "rlvr" if part == "problems" else stage, seed, notes, place)
        for part, listed in sources.items()
        if listed and (with_train or part in parts) and not (part == "train" and data.streaming)
    }
    if train := found.get("train"):
        train = train.take(_shuffled(len(train), seed))
        if share is not None and fraction is not None:
            keys = _split_keys(train, share.by, place("data.dev"))
            held = np.array(hold_out(keys, fraction, seed, where=place("data.dev")))
            found["dev"] = _each_once(train.take(np.flatnonzero(held)))
            train = train.take(np.flatnonzero(~held))
            total = len(np.unique(train.order)) + len(found["dev"])
            notes.append(f"dev: held out {len(found['dev']):,} of {total:,} training rows, by {share.by or 'prompt'}")
        found["train"] = train
        apart = ("unseen", "problems") if fraction is not None else ("dev", "unseen", "problems")
        refuse_overlap(train, {part: found.get(part, ()) for part in apart}, place)
        notes += _notes_on_train(train)
    stream = _stream(data, stage, seed, found, place) if data.streaming and "train" in parts else None
    returned: dict[str, Any] = {part: found.get(part, ()) if part in parts else () for part in sources}
    digest = digest_of({part: content_keys(records) for part, records in returned.items()})
    if stream:
        looked, of_stream = stream.first_look()
        notes, digest = looked + notes, f"{of_stream[:32]}{digest[:32]}"
    return Loaded(**returned, notes=notes, digest=digest, stream=stream)


def _stream(data: Data, stage: str, seed: int, found: dict[str, Records], place: Callable[[str], str]) -> Stream:
    sources = [
        Streamed(source, place(f"data.train[{index}].path"), place(f"data.train[{index}].format"))
        for index, source in enumerate(data.train)
    ]
    held_out: set[bytes] = set()
    for records in found.values():
        asked = records.record_type is Problem
        held_out.update((prompt_keys if asked else content_keys)(records).tolist())
    return Stream(sources, stage, data.system, data.bad_rows == "skip", seed, frozenset(held_out))


def _split_keys(train: Records, by: str | None, where: str) -> list[bytes]:
    """What keeps rows together when some are held out: their prompt, and the column `by` where it is given."""
    prompts = prompt_keys(train).tolist()
    if by is None:
        return prompts
    groups = train.column("group")
    if not any(groups):
        raise UserError(f"no training row has a column {by!r} to split by", where=where, fix="Leave `by` out.")
    return join_groups(prompts, groups)


def _shuffled(count: int, seed: int) -> list[int]:
    order = list(range(count))
    random.Random(seed).shuffle(order)
    return order


def _each_once(records: Records) -> Records:
    """The records without the copies that a weight made."""
    _, first = np.unique(records.order, return_index=True)
    return records.take(np.sort(first))


def _read_part(
    part: str,
    sources: Sequence[Source],
    data: Data,
    stage: str,
    seed: int,
    notes: list[str],
    place: Callable[[str], str],
) -> Records:
    stored, names, kept = [], [], []
    for index, source in enumerate(sources):
        where = place(f"data.{part}[{index}].path")
        converted = convert_source(
            source,
            stage,
            system=data.system,
            skip_bad=data.bad_rows == "skip",
            where=where,
            format_where=place(f"data.{part}[{index}].format"),
            group=data.dev.by if part == "train" and isinstance(data.dev, Fraction) else None,
        )
        names.append(f"{part}: {shown(source.path)}")
        notes += _notes_on_source(names[-1], converted.counts, converted.title)
        stored.append(open_stored(converted.path, converted.names))
        kept.append(sum(batch.num_rows for batch in stored[-1].batches))
        if not kept[-1]:
            raise UserError(_nothing_usable(converted.counts), where=where)
    mixed = part == "train" and (data.mix is not None or any(source.share is not None for source in sources))
    if mixed:
        taken = _mixture(kept, data, seed, names, place)
    else:
        rngs = [random.Random(f"{seed} {part} {index}") for index in range(len(sources))]
        taken = [_sample(*each) for each in zip(kept, sources, rngs, strict=True)]
    order: list[int] = []
    for first, name, of_source, count in zip(accumulate([0, *kept]), names, taken, kept, strict=False):
        order += [first + number for number in of_source]
        if mixed or len(of_source) != count:
            repeats = len(of_source) - len(set(of_source))
            again = f", {repeats:,} of these once more" if mixed and repeats else ""
            notes.append(f"{name}: took {len(of_source):,} of {count:,}{again}")
    return Records(RECORD_OF_STAGE[stage], stored, order)


def _mixture(kept: list[int], data: Data, seed: int, names: list[str], place: Callable[[str], str]) -> list[list[int]]:
    """The row numbers that each training source gives to the recipe's mixture."""
    pools = [min(count, source.limit or count) for count, source in zip(kept, data.train, strict=True)]
    taken = []
    for index, wanted in enumerate(recipe_rows(pools, data, names, place)):
        rng = random_state(seed, "train", index)
        pool = draw(kept[index], pools[index], rng)
        taken.append(pool[draw(len(pool), wanted, rng)].tolist())
    return taken


def _notes_on_source(name: str, counts: Counts, title: str) -> list[str]:
    notes = [f"{name}: {_rows(counts.rows)} of {title}"]
    notes += [f"{name}: left out {_rows(count)}: {why}" for why, count in counts.left_out.items()]
    if counts.bad:
        notes.append(f"{name}: skipped {_rows(counts.bad)} that cannot be read, the first: {counts.bad_examples[0]}")
    return notes


def _nothing_usable(counts: Counts) -> str:
    reasons = [f"{count:,}: {why}" for why, count in counts.left_out.items()]
    reasons += [f"{counts.bad:,} cannot be read, the first: {counts.bad_examples[0]}"] if counts.bad else []
    return f"none of the {counts.rows:,} rows can be used ({'; '.join(reasons)})"


def _sample(count: int, source: Source, rng: random.Random) -> list[int]:
    """Row numbers: `limit` of `count`, or `weight` times them: whole copies, then a sample for the rest, in order."""
    if source.limit is not None:
        return _some(count, min(source.limit, count), rng)
    if source.weight is None:
        return list(range(count))
    copies, rest = divmod(source.weight, 1)
    wanted = round(rest * count) if copies else max(1, round(rest * count))
    return list(range(count)) * int(copies) + _some(count, wanted, rng)


def _some(count: int, wanted: int, rng: random.Random) -> list[int]:
    return sorted(rng.sample(range(count), wanted))


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"


def _notes_on_train(train: Records) -> list[str]:
    notes = []
    own = train.at(np.unique(train.order))  # without the copies that a weight makes
    repeated = len(own) - len(set(content_keys(own).tolist()))
    if repeated:
        notes.append(f"{repeated:,} of {len(own):,} training rows repeat another one exactly; they are kept")
    labels = Counter(train.column("label")) if train.record_type is Feedback else Counter()
    if labels:
        notes.append(f"labels: {labels[True]:,} up, {labels[False]:,} down")
    if len(labels) == 1:
        side = "up" if labels[True] else "down"
        notes.append(f"warning: every label is {side}: KTO learns from the contrast of up and down")
    return notes
