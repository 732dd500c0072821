"""Held-out rows that training rows say again, nearly word for word: by shared n-grams, as Tülu 3 counts them.

A held-out row overlaps when more than half of its words stand in 8-grams that one training row has too: the single
best row counts, not all of them together (arXiv 2411.15124, section 3.2). A row of fewer than 8 words has no 8-gram;
it overlaps when a training row, or one of its turns, is the same words.

Templates overlap with each other: one story with other numbers is another problem. `same_numbers` tells them apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal

import numpy as np

from posttrain.data.ngrams import ngrams, numbers, spans, words
from posttrain.data.records import Chat, Feedback, Message, Preference, Problem, Record

NGRAM = 8
THRESHOLD = 0.5
LOOKED_AT = 20_000
"""Training rows that `overlap_notes` looks at."""

Fields = Literal["prompt", "all"]
Turns = Sequence[str]

_COMMON = 64  # an n-gram that stands more often in held-out rows is a template's
_TOGETHER = 500
_KEPT = 1_000  # answers about templates alone


@dataclass(frozen=True)
class Match:
    """How much of a held-out row, by its number, one training row covers."""

    row: int
    share: float


@dataclass(frozen=True)
class Index:
    """The n-grams of held-out rows. `grams` has them row after row, from `starts`; `lengths` are rows' words.

    `sorted_grams` and `rows` are the same in order, each with its row. `short` finds rows without an n-gram by their
    words. `templated` are rows that n-grams common to many rows cover beyond the threshold. `figures` are each row's
    words with digits, where a training row must have them too.
    """

    ngram: int
    threshold: float
    lengths: np.ndarray
    starts: np.ndarray
    grams: np.ndarray
    sorted_grams: np.ndarray
    rows: np.ndarray
    short: dict[tuple[str, ...], list[int]]
    figures: list[Counter[str]] | None
    templated: list[int] = field(default_factory=list)
    _of_template: dict[bytes, list[int]] = field(default_factory=dict)


@dataclass
class Overlap:
    """`trained`: each training row that overlaps, with its best match; `held_out`: each held-out row that does.

    The match of a held-out row is the best training row, the first of equals. `looked_at` counts training rows.
    """

    trained: dict[int, Match] = field(default_factory=dict)
    held_out: dict[int, Match] = field(default_factory=dict)
    looked_at: int = 0

    def add(self, number: int, found: Sequence[Match]) -> None:
        """Take in what `matches` found of training row `number`."""
        if found:
            self.trained[number] = max(found, key=lambda match: (match.share, -match.row))
        for match in found:
            known = self.held_out.get(match.row)
            if known is None or match.share > known.share:
                self.held_out[match.row] = Match(number, match.share)


def turns_of(record: Record, fields: Fields = "prompt") -> list[str]:
    """The texts of a record that are compared: of its user turns or, for ``all``, of every turn but the system's.

    All of a preference are both answers; of a problem its `answer` too.
    """
    turns: list[Message] = record.messages if isinstance(record, Chat) else record.prompt
    if fields == "prompt":
        return [turn["content"] for turn in turns if turn["role"] == "user"]
    if isinstance(record, Preference):
        turns = [*turns, *record.chosen, *record.rejected]
    if isinstance(record, Feedback):
        turns = [*turns, *record.completion]
    texts = [turn["content"] for turn in turns if turn["role"] != "system"]
    if isinstance(record, Problem) and record.fields.get("answer") is not None:
        texts.append(str(record.fields["answer"]))
    return texts


def find_overlap(
    train: Iterable[Turns],
    held_out: Iterable[Turns],
    *,
    ngram: int = NGRAM,
    threshold: float = THRESHOLD,
    same_numbers: bool = False,
) -> Overlap:
    """Which of the texts overlap. Memory holds the n-grams of `held_out`; `train` is gone over once."""
    index = make_index(held_out, ngram=ngram, threshold=threshold, same_numbers=same_numbers)
    found, train = Overlap(), iter(train)
    while batch := list(islice(train, _TOGETHER)):
        for matched in matches(index, batch):
            found.add(found.looked_at, matched)
            found.looked_at += 1
    return found


def make_index(
    held_out: Iterable[Turns], *, ngram: int = NGRAM, threshold: float = THRESHOLD, same_numbers: bool = False
) -> Index:
    """The index of these held-out texts.

    With `same_numbers`, a training text must have every word with a digit that the held-out one has, as often.
    """
    figures: list[Counter[str]] = []
    lengths: list[int] = []
    grams: list[np.ndarray] = []
    short: dict[tuple[str, ...], list[int]] = {}
    for number, turns in enumerate(held_out):
        said = words("\n".join(turns))
        lengths.append(len(said))
        figures.append(_figures(said) if same_numbers else Counter())
        grams.append(ngrams(numbers(said), ngram))
        if 0 < len(said) < ngram:
            short.setdefault(tuple(said), []).append(number)
    counts = np.array([len(each) for each in grams], np.int64)
    flat = np.concatenate([np.empty(0, np.uint64), *grams])
    order = np.argsort(flat, kind="stable")
    index = Index(
        ngram,
        threshold,
        np.array(lengths, np.int64),
        np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]),
        flat,
        flat[order],
        np.repeat(np.arange(len(grams)), counts)[order],
        short,
        figures if same_numbers else None,
    )
    listed, often = np.unique(flat, return_counts=True)
    common = listed[often > _COMMON]
    suspects = np.unique(index.rows[np.isin(index.sorted_grams, common)]).tolist() if len(common) else []
    index.templated.extend(row for row in suspects if _share(index, row, common) > threshold)
    return index


def matches(index: Index, texts: Sequence[Turns]) -> list[list[Match]]:
    """Of each training text the held-out rows that it covers beyond the threshold, in their order."""
    if not texts:
        return []
    split = [[words(turn) for turn in turns] for turns in texts]
    grams = [ngrams(numbers([word for turn in turns for word in turn]), index.ngram) for turns in split]
    of_text = np.repeat(np.arange(len(texts)), [len(each) for each in grams])
    flat = np.concatenate([np.empty(0, np.uint64), *grams])
    hit = _contains(index.sorted_grams, flat)
    shared = np.split(flat[hit], np.searchsorted(of_text[hit], np.arange(1, len(texts))))
    return [_covered(index, *each) for each in zip(split, shared, strict=True)]


def overlap_notes(train: Sequence[Record], held_out: Mapping[str, Sequence[Record]], command: str = "") -> list[str]:
    """A line for each held-out part that overlaps with the training rows, and the `command` that mends it.

    The first `LOOKED_AT` training rows are looked at; loading has shuffled them. A pair with the same numbers is
    warned of. Pairs with others, which a template makes and a set with changed figures too, are counted beside.
    """
    parts = {part: records for part, records in held_out.items() if len(records)}
    if not parts or not len(train):
        return []
    looked = min(len(train), LOOKED_AT)
    same, any_numbers = (_overlaps(train, parts, looked, same_numbers) for same_numbers in (True, False))
    warnings = [_note(part, same[part], train, parts[part], looked) for part in parts if same[part].held_out]
    notes = [*warnings, f"  take them out: {command}"] if warnings and command else warnings
    for part, found in any_numbers.items():
        if more := len(found.held_out) - len(same[part].held_out):
            notes.append(f"{more:,} of {len(parts[part]):,} {part} rows are training rows with other numbers in them")
    return notes


def _overlaps(
    train: Sequence[Record], parts: Mapping[str, Sequence[Record]], looked: int, same_numbers: bool
) -> dict[str, Overlap]:
    """What each part has of the first `looked` training rows."""
    listed = [(part, number) for part, records in parts.items() for number in range(len(records))]
    texts = (turns_of(record) for records in parts.values() for record in records)
    index = make_index(texts, same_numbers=same_numbers)
    found = {part: Overlap() for part in parts}
    for start in range(0, looked, _TOGETHER):
        batch = [turns_of(record) for record in train[start : min(start + _TOGETHER, looked)]]
        for number, matched in enumerate(matches(index, batch), start):
            for part in {listed[match.row][0] for match in matched}:
                own = [Match(listed[each.row][1], each.share) for each in matched if listed[each.row][0] == part]
                found[part].add(number, own)
    return found


def marked(text: str, other: str, ngram: int = NGRAM) -> list[tuple[int, int]]:
    """Where `text` shares n-grams with `other`: the spans of characters, joined where they touch.

    All of it where the two are the same words.
    """
    own, others, places = words(text), words(other), spans(text)
    if own == others:
        return [(places[0][0], places[-1][1])] if own else []
    theirs = {tuple(others[at : at + ngram]) for at in range(len(others) - ngram + 1)}
    found: list[tuple[int, int]] = []
    for at in range(len(own) - ngram + 1):
        if tuple(own[at : at + ngram]) in theirs:
            start, end = places[at][0], places[at + ngram - 1][1]
            if found and start <= found[-1][1]:
                start = found.pop()[0]
            found.append((start, end))
    return found


def _note(part: str, found: Overlap, train: Sequence[Record], held_out: Sequence[Record], looked: int) -> str:
    worst = max(found.held_out, key=lambda row: (found.held_out[row].share, -row))
    match = found.held_out[worst]
    of = f"{len(train):,}" if looked == len(train) else f"the {looked:,} of {len(train):,} looked at"
    places = f"{held_out[worst].place} is {match.share:.0%} in {train[match.row].place}"
    return (
        f"warning: {len(found.held_out):,} of {len(held_out):,} {part} rows overlap with "
        f"{len(found.trained):,} of {of} training rows: {places}"
    )


def _covered(index: Index, turns: Sequence[list[str]], shared: np.ndarray) -> list[Match]:
    same = {tuple(turn) for turn in turns} | {tuple(word for turn in turns for word in turn)} if index.short else set()
    found = [Match(row, 1.0) for words_of in same for row in index.short.get(words_of, ())]
    if len(shared):
        shared = np.unique(shared)
        first = np.searchsorted(index.sorted_grams, shared)
        last = np.searchsorted(index.sorted_grams, shared, side="right")
        rare = last - first <= _COMMON
        rows = {row for at, end in zip(first[rare], last[rare], strict=True) for row in index.rows[at:end].tolist()}
        # A row that no rare n-gram leads to can still be over the threshold if most of it is a template.
        shares = {row: _share(index, row, shared) for row in rows.union(_by_template(index, shared[~rare]))}
        found += [Match(row, share) for row, share in shares.items() if share > index.threshold]
    if found and index.figures is not None:
        own = _figures(word for turn in turns for word in turn)
        found = [match for match in found if index.figures[match.row] <= own]
    return sorted(found, key=lambda match: match.row)


def _figures(said: Iterable[str]) -> Counter[str]:
    return Counter(word for word in said if any(letter.isdigit() for letter in word))


def _by_template(index: Index, common: np.ndarray) -> list[int]:
    """The rows that these common n-grams alone cover; many training rows share the same ones."""
    if not index.templated or not len(common):
        return []
    key = common.tobytes()
    if key not in index._of_template:
        if len(index._of_template) >= _KEPT:
            index._of_template.clear()
        index._of_template[key] = [row for row in index.templated if _share(index, row, common) > index.threshold]
    return index._of_template[key]


def _share(index: Index, row: int, shared: np.ndarray) -> float:
    """The share of the row's words that stand in one of the n-grams, which are in ascending order."""
    at = np.flatnonzero(_contains(shared, index.grams[index.starts[row] : index.starts[row + 1]]))
    if not len(at):
        return 0.0
    return float(np.minimum(np.diff(at, append=at[-1] + index.ngram), index.ngram).sum() / index.lengths[row])


def _contains(ordered: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Which of the values are among the ascending `ordered`."""
    if not len(ordered):
        return np.zeros(len(values), bool)
    return ordered[np.minimum(np.searchsorted(ordered, values), len(ordered) - 1)] == values
