"""Token rows put together into packs of at most so many tokens, so that a batch has hardly any padding."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy

if TYPE_CHECKING:
    from datasets import Dataset

    Lengths = numpy.ndarray[Any, numpy.dtype[numpy.int64]]


def best_fit(lengths: Lengths, size: int) -> tuple[Lengths, Lengths]:
    """Return ``(rows, borders)``: pack `i` has the rows ``rows[borders[i]:borders[i + 1]]``.

    Best fit decreasing (Ding et al., arXiv 2404.10830, section 3): from the longest row to the shortest, each goes
    where it leaves the least room, or into a new pack. Rows of one length are placed together, so the time goes with
    the lengths that occur rather than with the rows. Rows stand in their order in a pack, packs in the order of
    their first rows.

    Raises ValueError for a row that is longer than `size`.
    """
    if len(lengths) and lengths.max() > size:
        raise ValueError(f"a row has {lengths.max()} tokens, and a pack {size}")
    order = numpy.argsort(-lengths, kind="stable")
    found, counts = numpy.unique(lengths, return_counts=True)
    pack_of = numpy.empty(len(lengths), dtype=numpy.int64)
    packs = at = 0
    with_room: dict[int, list[int]] = defaultdict(list)  # open packs by the tokens that they still take
    rooms = 0  # which of these lists have packs, as bits
    for length, left in zip(found[::-1].tolist(), counts[::-1].tolist(), strict=True):
        while left:
            fitting = rooms >> length
            room = length + (fitting & -fitting).bit_length() - 1 if fitting else size  # the lowest bit: the least room
            each = min(room // length, left)  # a pack that took a row is the best fit for the next, if it has room
            if fitting:
                taken = with_room[room][-(left // each) :]
                del with_room[room][-len(taken) :]
                rooms ^= 0 if with_room[room] else 1 << room
            else:
                taken = list(range(packs, packs + left // each))
                packs += len(taken)
            pack_of[order[at : at + each * len(taken)]] = numpy.repeat(taken, each)
            at += each * len(taken)
            left -= each * len(taken)
            if room := room - each * length:
                with_room[room] += taken
                rooms |= 1 << room
    return _in_order(pack_of, packs)


def _in_order(pack_of: Lengths, packs: int) -> tuple[Lengths, Lengths]:
    """Return the rows and borders of `packs` packs, by their first rows."""
    rows = numpy.argsort(pack_of, kind="stable")
    firsts = rows[numpy.searchsorted(pack_of[rows], numpy.arange(packs))]
    pack_of = numpy.argsort(numpy.argsort(firsts))[pack_of]
    borders = numpy.concatenate([[0], numpy.cumsum(numpy.bincount(pack_of, minlength=packs))])
    return numpy.argsort(pack_of, kind="stable"), borders


def pack(dataset: Dataset, size: int) -> tuple[Dataset, str]:
    """Return packs of at most `size` tokens of a data set's rows, and how full they are, in words.

    A pack has ``input_ids`` and ``labels``, rows behind each other, and ``seq_lengths``, the length of each row. It is
    put together when it is read: what is kept in memory are the numbers of its rows. ``length`` are its tokens.
    """
    import pyarrow
    from datasets import Dataset

    lengths = row_lengths(dataset)
    rows, borders = best_fit(lengths, size)
    tokens = numpy.add.reduceat(lengths[rows], borders[:-1])
    numbers = pyarrow.ListArray.from_arrays(borders.astype(numpy.int32), rows)
    packs = Dataset(pyarrow.table({"rows": numbers, "length": tokens}))
    full, each = tokens.mean() / size, len(rows) / len(tokens)
    said = f"packed {len(rows):,} rows into {len(tokens):,} of {size:,} tokens: {full:.0%} full, {each:.1f} rows each"
    return packs.with_transform(partial(_joined, dataset)), said


def _joined(dataset: Dataset, packs: Mapping[str, Sequence[Sequence[int]]]) -> dict[str, list[list[int]]]:
    """Return the tokens of packs, each the numbers of its rows."""
    joined: dict[str, list[list[int]]] = {"input_ids": [], "labels": [], "seq_lengths": []}
    for numbers in packs["rows"]:
        rows = dataset[numbers]
        for name in ("input_ids", "labels"):
            joined[name].append(list(chain.from_iterable(rows[name])))
        joined["seq_lengths"].append([len(ids) for ids in rows["input_ids"]])
    return joined


def row_lengths(dataset: Dataset) -> Lengths:
    """Return the tokens of each row, or pack; where a row has several answers, with the longer one."""
    import pyarrow.compute

    table, order = dataset.data, dataset._indices  # through the rows themselves it takes seconds for a million
    if "length" in table.column_names:
        lengths = table.column("length").to_numpy()
    else:
        names = [name for name in table.column_names if name.endswith("_ids") and name != "KL_completion_ids"]
        found = {name: pyarrow.compute.list_value_length(table.column(name)).to_numpy() for name in names}
        prompts = found.pop("prompt_ids", 0)
        lengths = prompts + numpy.max(list(found.values()), axis=0)
    return lengths if order is None else lengths[order.column(0).to_numpy()]
