"""The text that each token stands for, so that the texts together are what the model reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_PART_OF_A_CHARACTER = "\ufffd"


class Token(NamedTuple):
    """A token's id, its text ('' where an earlier token shows the character that it completes), and whether it is one
    that only templates write."""

    id: int
    text: str
    special: bool


def read_tokens(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> list[Token]:
    """The tokens of `ids`, special ones written out."""
    added = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    added |= set(tokenizer.all_special_ids)
    texts = _by_offsets(tokenizer, ids) or _one_by_one(tokenizer, ids)
    return [Token(number, text, number in added) for number, text in zip(ids, texts, strict=True)]


def _by_offsets(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> list[str] | None:
    """The texts where the decoded text gives the same tokens again, and the tokenizer says where each ends in it."""
    if not tokenizer.is_fast:
        return None
    text = _decode(tokenizer, ids)
    again = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    if again["input_ids"] != list(ids):
        return None
    texts, start = [], 0
    for _, end in again["offset_mapping"]:  # a token without its blanks leaves them to the next one
        texts.append(text[start : max(start, end)])
        start = max(start, end)
    if texts:
        texts[-1] += text[start:]
    return texts


def _one_by_one(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> list[str]:
    """The texts of single tokens; those that make up one character together are decoded together."""
    texts: list[str] = []
    waiting: list[int] = []
    for number in ids:
        waiting.append(number)
        text = _decode(tokenizer, waiting)
        if text.endswith(_PART_OF_A_CHARACTER) and len(waiting) < 4:
            continue
        texts += [text, *[""] * (len(waiting) - 1)]
        waiting = []
    return [*texts, *[_decode(tokenizer, waiting), *[""] * (len(waiting) - 1)]] if waiting else texts


def _decode(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))
