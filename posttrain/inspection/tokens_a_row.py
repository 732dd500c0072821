"""The length of each row in tokens, before any limit, and why training leaves rows out."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from posttrain.data.masks import IGNORED
from posttrain.data.records import Record
from posttrain.data.tokenize import OF_STAGE
from posttrain.errors import UserError
from posttrain.inspection.figures import Places, nearest_rank, summary, wilson

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

KEPT_SHARE = 0.99  # the rows that a suggested limit keeps whole


@dataclass
class Lengths:
    """Numbers of tokens, an entry a row, and what becomes of rows that training leaves out."""

    total: array[int] = field(default_factory=lambda: array("q"))
    trained: array[int] = field(default_factory=lambda: array("q"))
    lost: array[int] = field(default_factory=lambda: array("q"))
    chosen: array[int] = field(default_factory=lambda: array("q"))
    rejected: array[int] = field(default_factory=lambda: array("q"))
    left_out: Counter[str] = field(default_factory=Counter)
    unreadable: Places = field(default_factory=Places)
    why_unreadable: str = ""

    def add(self, records: Sequence[Any], tokenizer: PreTrainedTokenizerBase, stage: str, settings: dict) -> None:
        """Count a batch. `settings` are those of ``tokenize.OF_STAGE[stage]``; their limit cuts a copy only."""
        limit = _limit(settings)
        unlimited = {**settings, **{name: None for name in settings if name.startswith("max_")}}
        try:
            done = OF_STAGE[stage](records, tokenizer, **unlimited)
        except UserError as error:
            if len(records) > 1:
                for record in records:
                    self.add([record], tokenizer, stage, settings)
            else:
                self.unreadable.add(records[0].place)
                self.why_unreadable = self.why_unreadable or error.message
            return
        if done.dropped and len(records) > 1:  # which of them is not said, so one by one
            for record in records:
                self.add([record], tokenizer, stage, settings)
            return
        self.left_out.update(done.dropped)
        long: list[Record] = []
        for record, row in zip(records, done.rows, strict=False):
            size = self._add_row(row, limit)
            if limit is not None and size >= limit:  # a prompt that just fills the limit is left out too
                long.append(record)
        if long:
            self.left_out.update(OF_STAGE[stage](long, tokenizer, **settings).dropped)

    def _add_row(self, row: dict[str, Any], limit: int | None) -> int:
        """Count one row of any stage; return its length, of a pair that of the longer answer."""
        prompt = len(row.get("prompt_ids", ()))
        if "labels" in row:
            sizes, trained = [len(row["labels"])], sum(label != IGNORED for label in row["labels"])
        elif "chosen_ids" in row:
            answers = [len(row["chosen_ids"]), len(row["rejected_ids"])]
            self.chosen.append(answers[0])
            self.rejected.append(answers[1])
            sizes, trained = [prompt + answer for answer in answers], sum(answers)
        else:
            trained = len(row.get("completion_ids", ()))
            sizes = [prompt + trained]
        self.total.append(max(sizes))
        self.trained.append(trained)
        self.lost.append(sum(max(size - limit, 0) for size in sizes) if limit is not None else 0)
        return max(sizes)


def figures_of(lengths: Lengths, stage: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The lengths as plain JSON values, by stable names."""
    limit, tokens = _limit(settings), summary(lengths.total)
    found: dict[str, Any] = {"tokens": tokens, "left_out": dict(lengths.left_out.most_common())}
    bad = lengths.unreadable
    found["unreadable"] = {"rows": bad.count, "examples": bad.examples, "why": lengths.why_unreadable}
    if tokens is None:
        return found
    values = np.sort(np.frombuffer(lengths.total, dtype=np.int64))
    found["truncation"] = {
        "max_length": limit,
        "rows": int((values > limit).sum()) if limit is not None else 0,
        "tokens_lost": sum(lengths.lost),
        "max_length_for_99_percent": nearest_rank(values, KEPT_SHARE),
    }
    if stage not in ("rlvr", "eval"):
        # A pair's prompt is read twice, once before each answer; its share is of the two rows that are trained.
        read = tokens["total"]
        if lengths.chosen:
            both = zip(lengths.total, lengths.chosen, lengths.rejected, strict=True)
            read = sum(2 * size - 2 * max(one, other) + one + other for size, one, other in both)
        trained = sum(lengths.trained)
        found["trained"] = {"tokens": trained, "mean": trained / len(lengths.trained), "share": trained / read}
    if lengths.chosen:
        found["length_bias"] = length_bias(lengths.chosen, lengths.rejected)
    return found


def length_bias(chosen: Sequence[int], rejected: Sequence[int]) -> dict[str, Any]:
    """How often the chosen answer is the longer one, of the pairs whose answers differ in length."""
    longer = sum(one > other for one, other in zip(chosen, rejected, strict=True))
    equal = sum(one == other for one, other in zip(chosen, rejected, strict=True))
    unequal = len(chosen) - equal
    low, high = wilson(longer, unequal) if unequal else (0.0, 1.0)
    return {
        "median_chosen": float(np.median(chosen)),
        "median_rejected": float(np.median(rejected)),
        "chosen_longer": longer,
        "rejected_longer": unequal - longer,
        "equal": equal,
        "share": longer / unequal if unequal else None,
        "interval": [low, high],
    }


def _limit(settings: dict[str, Any]) -> int | None:
    return next((value for name, value in settings.items() if name.startswith("max_")), None)
