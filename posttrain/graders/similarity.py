"""How alike two texts are, from 0 to 1, by the metrics of OpenAI's `text_similarity`.

OpenAI names its libraries (rapidfuzz, rouge-score, nltk) but not the functions, nor how texts become words.
Here they are: words for nltk are runs of letters and digits, or of punctuation; rouge-score has its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from posttrain.errors import UserError

Similarity = Callable[[str, str], float]  # of (text, reference)

METRICS = (
    "fuzzy_match",
    "bleu",
    "gleu",
    "meteor",
    "rouge_1",
    "rouge_2",
    "rouge_3",
    "rouge_4",
    "rouge_5",
    "rouge_l",
)


def similarity(metric: str) -> Similarity:
    """Return the metric's function; raises UserError when what it needs is not installed."""
    makers: dict[str, Callable[[], Similarity]] = {
        "fuzzy_match": _fuzzy_match,
        "bleu": _bleu,
        "gleu": _gleu,
        "meteor": _meteor,
    }
    try:
        return _rouge(metric.replace("_", "")) if metric.startswith("rouge_") else makers[metric]()
    except ImportError as error:
        raise UserError(
            f"text_similarity needs {error.name}, which is not installed",
            fix='pip install "posttrain[similarity]"',
        ) from None


def _fuzzy_match() -> Similarity:
    """rapidfuzz.fuzz.ratio / 100: 1 - (insertions + deletions) / (characters of both)."""
    from rapidfuzz import fuzz

    return lambda text, reference: fuzz.ratio(text, reference) / 100


def _bleu() -> Similarity:
    """nltk's sentence_bleu, up to 4-grams (Papineni et al. 2002), with smoothing method 1 (Chen and Cherry 2014).

    A text of fewer than four words is compared by the n-grams that it has.
    """
    from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

    smoothing = SmoothingFunction().method1

    def bleu(text: str, reference: str) -> float:
        words = _words(text)
        if not words:
            return 0.0
        value = sentence_bleu([_words(reference)], words, smoothing_function=smoothing, auto_reweigh=True)
        return min(float(value), 1.0)  # 1 + 2e-16 has been seen

    return bleu


def _gleu() -> Similarity:
    """nltk's sentence_gleu, up to 4-grams: the lesser of n-gram precision and recall (Wu et al. 2016, Google)."""
    from nltk.translate.gleu_score import sentence_gleu

    return lambda text, reference: float(sentence_gleu([_words(reference)], _words(text)))


def _meteor() -> Similarity:
    """`meteor_score`, where WordNet is there."""
    from nltk.corpus import wordnet

    try:
        wordnet.ensure_loaded()
    except LookupError:
        raise UserError(
            "meteor needs WordNet, which no Python package brings and which is not on this machine",
            where="evaluation_metric",
            fix="python -m nltk.downloader wordnet, or take rouge_l or gleu",
        ) from None
    return meteor_score


def meteor_score(text: str, reference: str) -> float:
    """nltk's single_meteor_score: exact words, Porter stems, WordNet synonyms (Banerjee and Lavie 2005).

    WordNet is read only for words that neither match nor have a stem in common.
    """
    from nltk.translate.meteor_score import single_meteor_score

    return float(single_meteor_score(_words(reference), _words(text)))


def _rouge(name: str) -> Similarity:
    """rouge-score's F-measure, without stemming: n-grams (rouge1 to rouge5) or the longest common subsequence
    (rougeL), of words of a-z and 0-9 (Lin 2004)."""
    scorer = _rouge_scorer("rougeL" if name == "rougel" else name)
    return lambda text, reference: float(next(iter(scorer.score(reference, text).values())).fmeasure)


@lru_cache
def _rouge_scorer(name: str) -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer([name], use_stemmer=False)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+|[^\w\s]+", text)
