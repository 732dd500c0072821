"""Where tokens stand in a text, from the bytes that each token of a byte-level vocabulary is.

When the tokens' bytes, one after the other, are the text's own, each token stands where those before it end. Otherwise
(another kind of vocabulary, a text that the tokenizer normalises) nothing is said, and the tokenizer is asked: its own
account of where tokens stand is right for any text, and takes a quarter of the time that the ids take.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from posttrain.data.masks import IGNORED, Span

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Pieces = list[bytes]

_NO_TEXT = b"\xff"  # in no text that is UTF-8
_known: WeakKeyDictionary[Any, Pieces | None] = WeakKeyDictionary()


def pieces_of(tokenizer: PreTrainedTokenizerBase) -> Pieces | None:
    """The bytes of each token by its id; None for a tokenizer whose vocabulary is not in bytes."""
    if tokenizer not in _known:
        _known[tokenizer] = _pieces(tokenizer) if tokenizer.is_fast else None
    return _known[tokenizer]


def labels_by_bytes(ids: list[int], pieces: Pieces, text: str, spans: list[Span]) -> list[int] | None:
    """`ids` where the token lies in a span of `text`, else -100; None where that cannot be told from the bytes.

    It cannot where the tokens are not the text, byte for byte, or a span begins or ends inside of a token.
    """
    try:
        found = [pieces[token] for token in ids]
    except IndexError:  # a token that was added since
        return None
    if b"".join(found) != text.encode("utf-8", "surrogatepass"):
        return None
    borders = list(accumulate(map(len, found), initial=0))
    labels = [IGNORED] * len(ids)
    for span in spans:
        start, end = span if text.isascii() else (len(text[:at].encode("utf-8", "surrogatepass")) for at in span)
        first, last = bisect_left(borders, start), bisect_left(borders, end)
        if borders[first] != start or borders[last] != end:
            return None
        labels[first:last] = ids[first:last]
    return labels


def _pieces(tokenizer: Any) -> Pieces | None:
    backend = tokenizer.backend_tokenizer
    if type(backend.decoder).__name__ != "ByteLevel":
        return None
    byte_of = _bytes_by_sign()
    added = backend.get_added_tokens_decoder()
    vocabulary = backend.get_vocab(with_added_tokens=True)
    pieces = [_NO_TEXT] * (max(vocabulary.values(), default=-1) + 1)
    for token, number in vocabulary.items():
        if number in added:
            pieces[number] = token.encode("utf-8", "surrogatepass") or _NO_TEXT
        elif token and all(sign in byte_of for sign in token):
            pieces[number] = bytes(byte_of[sign] for sign in token)
    return pieces


def _bytes_by_sign() -> dict[str, int]:
    """GPT-2's signs for bytes: those that print are themselves, the others are counted on from 256."""
    shown = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {chr(byte): byte for byte in shown} | {chr(256 + number): byte for number, byte in enumerate(hidden)}
