"""How many tokens rows have: counted on a sample with the model's tokenizer, else guessed from their characters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from posttrain.advice.facts import characters
from posttrain.data.records import Record
from posttrain.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHARACTERS_A_TOKEN = 4
"""Of English text in the large vocabularies of today, roughly; code and other languages have fewer."""
_TEMPLATE = 12  # tokens that a chat template adds to a row, roughly


@dataclass(frozen=True)
class Lengths:
    """Tokens a row: the mean, and what 99 of 100 rows do not exceed. Of a pair both answers with the prompt, each."""

    mean: float
    p99: int


def lengths(records: Sequence[Record], stage: str, tokenizer: PreTrainedTokenizerBase | None) -> Lengths:
    """Return the tokens of the records; rows that the template cannot render are counted by their characters."""
    counted = sorted(max(each) for each in _counts(records, stage, tokenizer))
    totals = [sum(each) for each in _counts(records, stage, tokenizer)] if stage == "dpo" else counted
    return Lengths(sum(totals) / len(totals), counted[min(len(counted) - 1, int(0.99 * len(counted)))])


def _counts(records: Sequence[Record], stage: str, tokenizer: PreTrainedTokenizerBase | None) -> list[tuple[int, ...]]:
    """The tokens of each sequence of each record: two of a pair, else one."""
    if tokenizer is not None:
        try:
            return _tokenized(records, stage, tokenizer)
        except UserError:
            pass
    sides = 2 if stage == "dpo" else 1
    return [(characters(record) // CHARACTERS_A_TOKEN // sides + _TEMPLATE,) * sides for record in records]


def _tokenized(records: Sequence[Record], stage: str, tokenizer: PreTrainedTokenizerBase) -> list[tuple[int, ...]]:
    from posttrain.data.tokenize import OF_STAGE

    if stage == "rlvr":
        rows = OF_STAGE[stage](records, tokenizer, max_prompt_tokens=None).rows
    else:
        rows = OF_STAGE[stage](records, tokenizer, max_length=None, too_long="keep_start").rows
    counts = []
    for row in rows:
        prompt = len(row.get("prompt_ids", ()))
        answers = [len(row[key]) for key in ("completion_ids", "chosen_ids", "rejected_ids") if key in row]
        counts.append(tuple(prompt + answer for answer in answers or [0]) if prompt else (len(row["input_ids"]),))
    if not counts:
        raise UserError("no row is left")
    return counts
