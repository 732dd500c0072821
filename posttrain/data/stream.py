"""Rows that are read and tokenized as they are trained on: for sets that are larger than the disk.

What takes the whole set is not to be had: rows are shuffled within a buffer, only the first of each source are seen
before training, and what became of the others is said when they have been read.
"""

from __future__ import annotations

import hashlib
import random
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count, islice
from typing import TYPE_CHECKING, Any

from posttrain.data.chunks import chunks_of, rows_of
from posttrain.data.files import shown
from posttrain.data.formats import check_columns, choose_format, name_of_format, refuse_other_format, rename_columns
from posttrain.data.identity import asked_keys, content_key
from posttrain.data.records import Record
from posttrain.data.system import with_system
from posttrain.data.usable import why_unusable
from posttrain.errors import UserError
from posttrain.recipe.schema import Source, SystemPrompt

if TYPE_CHECKING:
    from datasets import IterableDataset
    from transformers import PreTrainedTokenizerBase

BUFFER_ROWS = 10_000
"""Rows that are shuffled among each other."""

LOOKED_AT = 1_000
"""Rows of each source that are read before training."""

_TOKENIZED_TOGETHER = 256
_LOOKED_AT_BY_TRAINERS = 8  # to see what they are given


@dataclass(frozen=True)
class Streamed:
    """One source to stream, with the places that its errors name."""

    source: Source
    where: str
    format_where: str


@dataclass(frozen=True)
class Stream:
    """The training rows of a stage, which are read anew at each pass over them.

    `held_out` are the digests of held-out rows and of what held-out problems ask: such rows are left out.
    """

    sources: list[Streamed]
    stage: str
    system: str | SystemPrompt | None
    skip_bad: bool
    seed: int
    held_out: frozenset[bytes]

    def records(self, counts: Counter[str], number: int = 0) -> Iterator[Record]:
        """Yield the records of the pass with this number, sources mixed evenly, shuffled within a buffer, in an order
        of its own; count what is left out, by reason."""
        rng = random.Random(f"{self.seed} {number}")
        yield from _shuffled(_mixed([self.read(each, counts) for each in self.sources], rng), rng)

    def read(self, streamed: Streamed, counts: Counter[str]) -> Iterator[Record]:
        """Yield the records of one source in order. Raises UserError for a row that cannot be read."""
        source, format = streamed.source, None

        def bad(error: UserError) -> None:
            if not self.skip_bad:
                raise error
            counts["cannot be read"] += 1

        check_columns(source.columns, self.stage, streamed.where)
        chunks = chunks_of(
            source.path,
            subset=source.subset,
            split=source.split,
            revision=source.revision,
            where=streamed.where,
            streaming=True,
        )
        for chunk in chunks:
            for raw, place in rows_of(chunk, bad):
                counts["read"] += 1
                try:
                    row = rename_columns(raw, source.columns, place)
                    found = format or choose_format(row, self.stage, source.format, place, streamed.format_where)
                    if source.format == "auto":
                        refuse_other_format(row, self.stage, name_of_format(found, self.stage), place)
                    record = with_system(found.read(row, place), self.system)
                    format = found
                except UserError as error:
                    bad(error)
                    continue
                if why := why_unusable(record) or self._held_out(record):
                    counts[why] += 1
                    continue
                yield record

    def _held_out(self, record: Record) -> str | None:
        if not self.held_out or self.held_out.isdisjoint((content_key(record), *asked_keys(record))):
            return None
        return "also held out"

    def first_look(self) -> tuple[list[str], str]:
        """Read the first rows of each source: return what to say about them, and a digest of them and the sources.

        Raises UserError for a row that cannot be read, and for a source of which none of these can be used.
        """
        notes = []
        total = hashlib.sha256(f"streamed {self.stage} {self.system}".encode())
        for streamed in self.sources:
            counts: Counter[str] = Counter()
            looked = list(islice(self.read(streamed, counts), LOOKED_AT))
            if not looked:
                raise UserError(f"none of the first rows can be used: {_summary(counts)}", where=streamed.where)
            total.update(streamed.source.model_dump_json(exclude={"path"}).encode())
            total.update(b"".join(map(content_key, looked)))
            notes.append(f"train: {shown(streamed.source.path)}: streamed; looked at the first {len(looked):,} rows")
        return notes, total.hexdigest()


def stream_rows(stream: Stream, tokenizer: PreTrainedTokenizerBase, settings: dict[str, Any]) -> IterableDataset:
    """The token rows of the stream, pass after pass without an end, tokenized as they are asked for.

    One stream without an end, since a trainer that resumes skips what it has seen of one.
    """
    from datasets import Features, IterableDataset, List, Value

    features = Features({"input_ids": List(Value("int32")), "labels": List(Value("int32"))})
    given = {"stream": stream, "tokenizer": tokenizer, "settings": settings}
    return IterableDataset.from_generator(_without_end, gen_kwargs=given, features=features)


def _without_end(stream: Stream, tokenizer: Any, settings: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for number in count():
        yield from token_rows(stream, tokenizer, settings, number)


def token_rows(stream: Stream, tokenizer: Any, settings: dict[str, Any], number: int = 0) -> Iterator[dict[str, Any]]:
    """Yield the token rows of one pass over the stream; say at its end what became of the records.

    Raises UserError when a pass over all of it has nothing to train on.
    """
    from posttrain.data.tokenize import OF_STAGE

    counts: Counter[str] = Counter()
    kept = 0
    try:
        records = stream.records(counts, number)
        while batch := list(islice(records, _TOKENIZED_TOGETHER)):
            done = OF_STAGE[stream.stage](batch, tokenizer, **settings)
            counts.update(done.dropped)
            counts["truncated"] += done.truncated
            counts["split"] += done.split
            for row in done.rows:
                kept += 1
                yield {name: value for name, value in row.items() if name != "index"}
        if not kept:
            raise UserError(f"no row is left to train on: {_summary(counts)}", where="data.train")
    finally:
        if kept > _LOOKED_AT_BY_TRAINERS or not kept:
            print(f"stream: {_summary(counts)}", file=sys.stderr)


def _mixed(sources: list[Iterator[Record]], rng: random.Random) -> Iterator[Record]:
    """Yield from the sources at random until all are at their end."""
    while sources:
        chosen = rng.randrange(len(sources))
        record = next(sources[chosen], None)
        if record is None:
            del sources[chosen]
        else:
            yield record


def _shuffled(records: Iterable[Record], rng: random.Random) -> Iterator[Record]:
    """Yield the records in an order that is random among `BUFFER_ROWS` of them."""
    buffer: list[Record] = []
    for record in records:
        if len(buffer) < BUFFER_ROWS:
            buffer.append(record)
            continue
        chosen = rng.randrange(BUFFER_ROWS)
        buffer[chosen], record = record, buffer[chosen]
        yield record
    rng.shuffle(buffer)
    yield from buffer


def _summary(counts: Counter[str]) -> str:
    others = [f"{count:,} {why}" for why, count in counts.items() if why != "read" and count]
    return ", ".join([f"{counts['read']:,} rows read", *others])
