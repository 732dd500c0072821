"""Token ids of plain text by looking its words up: the tokenizer makes each word's once, not each time it comes.

A byte-level BPE first cuts a text at its added tokens, and what is between by a pattern; each piece then becomes
tokens by itself, whatever stands beside it. Here the cutting is Python's, a piece's tokens are those that the
tokenizer's own model makes of it, and most pieces come again and again.

The two ways to cut must agree. So it is done for plain text alone, of characters on whose kind all versions of Unicode
agree and that no normalisation changes; for patterns of parts that mean the same to both engines; and for tokenizers
that agree on a probe. The tokenizer itself encodes everything else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Cut = Callable[[str], list[str]]

MOST_WORDS = 1 << 17
"""Words whose tokens are held, some 20 MB of them."""

_LONGEST = 32  # characters of a word that is likely to come again
# Latin and Cyrillic letters, signs of printed text; not the dotless i and the long s, which may count as an i and an s.
_plain = re.compile("[\t\n\r -~\u00c0-\u012f\u0132-\u017e\u0401\u0410-\u044f\u0451\u2010-\u2027\u20ac]*").fullmatch
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
# The parts of patterns that are known to mean the same here; Qwen's, Llama 3's and GPT-4o's have no other.
_SIGN = r"(?:\\p\{[LMN][ulmto]?\}|\\[sSrn]|[a-z'/ ])"
_SOME = r"(?:[?*+]|\{\d+(?:,\d*)?\})?"
_CONTRACTIONS = re.escape("(?i:'s|'t|'re|'ve|'m|'ll|'d)")
_KNOWN = re.compile(rf"(?:{_CONTRACTIONS}\??|\(\?!\\S\)|\||(?:\[\^?{_SIGN}+\]|{_SIGN}){_SOME})+")
_PROBE = (
    "Plain words, it's 3.14 or 1,234,567?  Two blanks,\ttabs\n\nand lines  \n  of code:\n    if (x_1 != y[2]) {{ "
    "return 'WE'LL SEE'; }}\r\n\r\n  {0}end{0}\n{0} \u2013 caf\u00e9, na\u00efve \u201cquotes\u201d\u2026 "
    "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440!  ##__x-y//z\n \n\t \n$5 and 20\u20ac  "
)


class _Ids(dict[str, tuple[int, ...]]):
    """The ids of pieces; of one that it does not hold, what `model` makes of its bytes."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def __missing__(self, piece: str) -> tuple[int, ...]:
        ids = tuple(token.id for token in self.model.tokenize("".join(map(_SIGNS.__getitem__, piece.encode()))))
        if len(piece) <= _LONGEST:
            if len(self) >= MOST_WORDS:
                self.clear()
            self[piece] = ids
        return ids


@dataclass(frozen=True)
class Words:
    """How a tokenizer cuts a text, and the ids of the pieces: `added` are its added tokens'."""

    at_added: list[Cut]
    added: dict[str, int]
    cuts: list[Cut]
    ids: _Ids

    def ids_of(self, text: str) -> list[int] | None:
        """The text's token ids; None for a text that is not plain."""
        if not _plain(text):
            return None
        ids: list[int] = []
        for part in _cut([text], self.at_added):
            if part in self.added:
                ids.append(self.added[part])
            else:
                ids.extend(chain.from_iterable(map(self.ids.__getitem__, _cut([part], self.cuts))))
        return ids


_known: WeakKeyDictionary[Any, tuple[Any, Words | None]] = WeakKeyDictionary()


def words_of(tokenizer: PreTrainedTokenizerBase) -> Words | None:
    """The tokenizer's words as far as they are known; None for a tokenizer that cuts texts otherwise."""
    if not tokenizer.is_fast:
        return None
    backend: Any = tokenizer.backend_tokenizer
    added = backend.get_added_tokens_decoder()
    state = (
        _state(backend.normalizer),
        _state(backend.pre_tokenizer),
        tokenizer.split_special_tokens,
        {number: repr(token) for number, token in added.items()},
    )
    known = _known.get(tokenizer)
    if known is None or known[0] != state:
        known = _known[tokenizer] = (state, None if tokenizer.split_special_tokens else _learn(backend, added))
    return known[1]


def _state(part: Any) -> dict[str, Any]:
    return {} if part is None else json.loads(part.__getstate__())


def _learn(backend: Any, added: dict[int, Any]) -> Words | None:
    cuts = _cuts(_state(backend.pre_tokenizer))
    if cuts is None or type(backend.model).__name__ != "BPE" or backend.model.dropout:
        return None
    if _state(backend.normalizer) not in ({}, {"type": "NFC"}):
        return None
    if any(token.lstrip or token.rstrip or token.single_word or not token.content for token in added.values()):
        return None
    first, then = ([token.content for token in added.values() if token.normalized is kind] for kind in (False, True))
    at_added = [_around(map(re.escape, sorted(each, key=len, reverse=True))) for each in (first, then) if each]
    words = Words(at_added, {token.content: number for number, token in added.items()}, cuts, _Ids(backend.model))
    probes = [_PROBE.format(mark) for mark in ("", *first[:8], *then[:8])]
    asked = backend.encode_batch(probes, add_special_tokens=False)
    agree = all(words.ids_of(probe) in (None, each.ids) for probe, each in zip(probes, asked, strict=True))
    return words if agree else None


def _cuts(state: dict[str, Any]) -> list[Cut] | None:
    """How a pre-tokenizer that ends in bytes cuts a text, one cut after the other; None where that is not known."""
    *steps, last = state["pretokenizers"] if state.get("type") == "Sequence" else [state]
    if last.get("type") != "ByteLevel" or last["add_prefix_space"]:
        return None
    cuts: list[Cut] = []
    for step in steps:
        if step["type"] == "Digits":
            cuts.append(_around([r"[0-9]" if step["individual_digits"] else r"[0-9]+"]))
        elif step["type"] == "Split" and step["behavior"] == "Isolated" and not step["invert"]:
            pattern = step["pattern"].get("Regex", "")
            if not _KNOWN.fullmatch(pattern):
                return None
            cuts.append(_apart(pattern))
        else:
            return None
    return [*cuts, _apart(_GPT2)] if last["use_regex"] else cuts


def _around(patterns: Iterable[str]) -> Cut:
    """Cut a text before and after each match of one of the patterns."""
    split = re.compile(f"({'|'.join(patterns)})").split
    return lambda text: [part for part in split(text) if part]


def _apart(pattern: str) -> Cut:
    """Cut a text into the matches of a pattern, and what is between them."""
    import regex

    compiled = regex.compile(pattern)

    def cut(text: str) -> list[str]:
        found: list[str] = compiled.findall(text)
        if sum(map(len, found)) == len(text):
            return found
        return [part for part in regex.split(f"({pattern})", text) if part]

    return cut


def _cut(parts: list[str], cuts: list[Cut]) -> list[str]:
    for cut in cuts:
        parts = cut(parts[0]) if len(parts) == 1 else list(chain.from_iterable(map(cut, parts)))
    return parts


def byte_signs() -> list[str]:
    """GPT-2's sign for each byte: those that print are themselves, the others are counted on from 256."""
    shown = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return [chr(byte if byte in shown else 256 + hidden.index(byte)) for byte in range(256)]


_SIGNS = byte_signs()
