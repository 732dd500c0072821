"""Text as the words that comparisons see, and runs of words as numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b

import numpy as np

# Scripts without blanks between words: Thai to Burmese, Khmer, kana, Chinese characters. Each sign is a word.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[^\W{_UNSPACED}]+|[^\s]")

_LONGEST = 64
_FACTORS = np.random.default_rng(8).integers(0, 2**64, _LONGEST, dtype=np.uint64) | np.uint64(1)


def words(text: str) -> list[str]:
    """The words and the punctuation marks of `text`, lower-cased: ``Is it 3.5?`` has six."""
    return _WORD.findall(_lowered(text))


def spans(text: str) -> list[tuple[int, int]]:
    """Where the `words` of `text` stand in it."""
    return [match.span() for match in _WORD.finditer(_lowered(text))]


def numbers(listed: Sequence[str]) -> np.ndarray:
    """A number of 64 bits for each word, the same in every process."""
    return np.fromiter(map(_number, listed), np.uint64, len(listed))


def ngrams(listed: np.ndarray, length: int) -> np.ndarray:
    """A number for each run of `length` words, of which `numbers` gave these: none where there are fewer.

    Multilinear hashing: two runs that differ share a number about once in 2^64. Raises ValueError for a length
    beyond 64.
    """
    if length > _LONGEST:
        raise ValueError(f"runs of {length} words")
    count = max(0, len(listed) - length + 1)
    total = np.zeros(count, np.uint64)
    for at in range(length if count else 0):
        total += listed[at : at + count] * _FACTORS[at]
    return total


def _lowered(text: str) -> str:
    lowered = text.lower()
    if len(lowered) == len(text):
        return lowered
    return "".join(letter.lower() if len(letter.lower()) == 1 else letter for letter in text)


@lru_cache(maxsize=1 << 18)
def _number(word: str) -> int:
    return int.from_bytes(blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
