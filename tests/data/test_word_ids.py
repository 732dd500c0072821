"""Ids that are looked up by words, and masks from the tokens' bytes, are the tokenizer's own."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Callable
from typing import Any

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from posttrain.data.masks import labels_of
from posttrain.data.pieces import labels_by_bytes, pieces_of
from posttrain.data.tokenize import _ids
from posttrain.data.word_ids import _plain, words_of

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
    r"\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace("{1,3}", "")
GPT4O = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPLITS: dict[str, list[Any]] = {
    "gpt2": [pre_tokenizers.ByteLevel(add_prefix_space=False)],
    "smollm2": [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)],
    "numbers": [pre_tokenizers.Digits(), pre_tokenizers.ByteLevel(add_prefix_space=False)],
    **{
        name: [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
        for name, pattern in {"llama3": LLAMA3, "qwen2": QWEN2, "gpt4o": GPT4O, "words alone": r"\p{L}+"}.items()
    },
}
LETTERS = [*"abstTSlLdvermM''  \n\n\t\r019.,!?-_/{}()\"$éÜßłЙм\u2013“…€", "'s", "'LL", "the", "them", "1234567"]
ALPHABET = [*LETTERS, "  ", "\r\n", " the", " them", "<think>", "<|im_start|>", "<|im_end|>", "[TAG]"]
HARD = ["日本", "e\u0301", "\u00a0", "\u0130", "\u017f", "\u2028", "\x1c", "½", "😀", "\u0958", "²"]


def made(splits: list[Any], *, nfc: bool = True) -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.BPE())
    backend.normalizer = normalizers.NFC() if nfc else None
    backend.pre_tokenizer = pre_tokenizers.Sequence(splits)
    backend.decoder = decoders.ByteLevel()
    rng = random.Random(1)
    texts = ["".join(rng.choices(ALPHABET, k=60)) for _ in range(300)] + [
        "the theme's there, they'll see 1234 5678"
    ] * 9
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=700, initial_alphabet=alphabet, show_progress=False)
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|im_end|>")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
    tokenizer.add_tokens([AddedToken("<think>", normalized=False), AddedToken("[TAG]", normalized=True)])
    return tokenizer


def own(tokenizer: Any, text: str) -> Any:
    return tokenizer.backend_tokenizer.encode(text, add_special_tokens=False)


@pytest.mark.parametrize("name", SPLITS)
def test_words_have_the_ids_that_the_tokenizer_gives_them(name: str) -> None:
    tokenizer, rng = made(SPLITS[name]), random.Random(name)
    words = words_of(tokenizer)
    assert words is not None
    for _ in range(800):
        text = "".join(rng.choices(ALPHABET, k=rng.randrange(60)))
        assert words.ids_of(text) == own(tokenizer, text).ids, repr(text)


def test_all_text_has_the_ids_that_the_tokenizer_gives_it() -> None:
    tokenizer, rng = made(SPLITS["qwen2"]), random.Random(2)
    texts = ["".join(rng.choices(ALPHABET + HARD, k=rng.randrange(12))) for _ in range(800)]
    assert _ids(tokenizer, texts) == [own(tokenizer, text).ids for text in texts]


def test_plain_text_is_as_unicode_has_always_had_it() -> None:
    """Letters, digits 0-9, blanks, printed signs: no marks, and nothing that normalisation changes."""
    plain = [sign for sign in map(chr, range(0x10000)) if _plain(sign)]
    kinds = {unicodedata.category(sign) for sign in plain if sign not in "\t\n\r"}
    assert kinds <= {"Lu", "Ll", "Lo", "Nd", "Zs", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Sc", "Sk", "Sm"}
    assert unicodedata.is_normalized("NFC", "".join(plain))
    assert [sign for sign in plain if sign.isspace()] == ["\t", "\n", "\r", " "]
    assert [sign for sign in plain if sign.isnumeric()] == list("0123456789")
    assert not any(map(_plain, HARD))


def test_tokenizers_that_cut_otherwise_are_left_alone(family: Callable[[str], Any]) -> None:
    blank = pre_tokenizers.ByteLevel(add_prefix_space=True)
    others = [
        [pre_tokenizers.Metaspace()],
        [blank],
        [pre_tokenizers.Split(Regex(r"(?<=a)b"), "isolated"), pre_tokenizers.ByteLevel(False, False, False)],
        [pre_tokenizers.Split(Regex(r"\p{L}+"), "removed"), pre_tokenizers.ByteLevel(False, False, False)],
        [pre_tokenizers.Punctuation(), pre_tokenizers.ByteLevel(False)],
    ]
    assert [words_of(made(splits)) for splits in others] == [None] * len(others)
    stripping = made(SPLITS["gpt2"])
    assert words_of(stripping) is not None
    stripping.add_tokens([AddedToken("<mask>", lstrip=True)])
    assert words_of(stripping) is None
    whole = made(SPLITS["gpt2"])
    whole.backend_tokenizer.normalizer = normalizers.Lowercase()
    assert words_of(whole) is None


def test_a_token_that_is_added_later_is_seen() -> None:
    tokenizer = made(SPLITS["gpt2"])
    before = _ids(tokenizer, ["a <new> b"])
    tokenizer.add_tokens(["<new>"])
    assert _ids(tokenizer, ["a <new> b"]) == [own(tokenizer, "a <new> b").ids] != before


@pytest.mark.parametrize("name", SPLITS)
def test_masks_from_bytes_are_those_from_offsets(name: str) -> None:
    tokenizer, rng = made(SPLITS[name]), random.Random(name)
    pieces, told = pieces_of(tokenizer), 0
    assert pieces is not None
    for _ in range(400):
        text = "".join(rng.choices(ALPHABET + HARD, k=rng.randrange(1, 30)))
        bounds = sorted(rng.choices(range(len(text) + 1), k=4))
        spans = [(bounds[0], bounds[1]), (bounds[2], bounds[3])]
        encoding = own(tokenizer, text)
        labels = labels_by_bytes(encoding.ids, pieces, text, spans)
        told += labels is not None
        assert labels in (None, labels_of(encoding.ids, encoding.offsets, spans)), repr(text)
    assert told > 20  # the others' spans begin or end inside of a token


def test_a_text_that_is_normalised_has_no_mask_from_bytes() -> None:
    tokenizer = made(SPLITS["gpt2"])
    text = "cafe\u0301 \u0958"
    assert labels_by_bytes(own(tokenizer, text).ids, pieces_of(tokenizer), text, [(0, 3)]) is None  # type: ignore[arg-type]  # there are pieces
