"""OpenAI's text similarity: each metric against a value worked by hand, thresholds, and what is refused.

The texts, in words: `the cat sat on the mat` and `the cat is on the mat` share 5 of 6 words, 3 of 5 word pairs,
1 of 4 triples and none of 3 quadruples; their longest common subsequence has 5 words.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from posttrain.errors import UserError
from posttrain.graders import BadProblem, Grader, build, check_problem
from posttrain.graders.similarity import METRICS, meteor_score, similarity
from posttrain.graders.text_similarity import TextSimilaritySettings

pytest.importorskip("rapidfuzz")
pytest.importorskip("rouge_score")
pytest.importorskip("nltk")

TEXT, REFERENCE = "the cat is on the mat", "the cat sat on the mat"
WITHOUT_WORDNET = [metric for metric in METRICS if metric != "meteor"]


def grader(metric: str, **options: Any) -> Grader:
    templates = {"input": "{{sample.output_text}}", "reference": "{{item.answer}}"}
    return build(
        TextSimilaritySettings(type="text_similarity", evaluation_metric=metric, **templates, **options), Path()
    )


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        # 22 and 21 characters; `sat` becomes `is` by deleting a and t and inserting i.
        ("fuzzy_match", 1 - 3 / 43),
        # No quadruple matches: method 1 counts 0.1 of them.
        ("bleu", (5 / 6 * 3 / 5 * 1 / 4 * 0.1 / 3) ** 0.25),
        ("gleu", (5 + 3 + 1 + 0) / (6 + 5 + 4 + 3)),
        ("rouge_1", 5 / 6),
        ("rouge_2", 3 / 5),
        ("rouge_3", 1 / 4),
        ("rouge_4", 0.0),
        ("rouge_l", 5 / 6),
    ],
)
def test_values_by_hand(metric: str, value: float) -> None:
    assert similarity(metric)(TEXT, REFERENCE) == pytest.approx(value)
    assert similarity(metric)(REFERENCE, TEXT) == pytest.approx(value)


def test_a_shorter_text_pays_by_hand() -> None:
    """`the cat` has every n-gram right; the reference has six words."""
    assert similarity("bleu")("the cat", REFERENCE) == pytest.approx(math.exp(1 - 6 / 2))
    assert similarity("gleu")("the cat", REFERENCE) == pytest.approx(3 / 18)
    precision, recall = 1, 2 / 6
    assert similarity("rouge_1")("the cat", REFERENCE) == pytest.approx(2 * precision * recall / (precision + recall))
    assert similarity("fuzzy_match")("the cat", REFERENCE) == pytest.approx(2 * 7 / (7 + 22))


def test_rouge_5_by_hand() -> None:
    """Six words each, five in a row the same: one of two quintuples."""
    assert similarity("rouge_5")("one two three four five six", "one two three four five seven") == 0.5


def test_meteor_by_hand() -> None:
    """Four words in two chunks: 1 - 0.5 (2/4)^3. Five of six found in one chunk: Fmean 10 P R / (R + 9 P)."""
    assert meteor_score("three four one two", "one two three four") == pytest.approx(1 - 0.5 * (2 / 4) ** 3)
    precision, recall = 1, 5 / 6
    fmean = 10 * precision * recall / (recall + 9 * precision)
    assert meteor_score("one two three four five", "one two three four five six") == pytest.approx(
        fmean * (1 - 0.5 * (1 / 5) ** 3)
    )
    assert meteor_score("cats", "cat") == pytest.approx(0.5)  # by stem; a chunk of one word of one


@pytest.mark.parametrize("metric", WITHOUT_WORDNET)
def test_every_metric_is_from_0_to_1_and_1_for_the_same_text(metric: str) -> None:
    alike = similarity(metric)
    assert alike(REFERENCE, REFERENCE) == pytest.approx(1.0)
    for text in ("", " ", "Rome", REFERENCE * 2, "дом", "🙂", "the " * 2000):
        assert 0.0 <= alike(text, REFERENCE) <= 1.0


@pytest.mark.parametrize("metric", WITHOUT_WORDNET)
def test_the_gold_answer_passes_and_another_does_not(metric: str) -> None:
    problem = {"answer": REFERENCE}
    check_problem([grader(metric)], problem)
    grade = grader(metric).grade(TEXT, problem)
    assert not grade.passed and grade.note.startswith(metric) and grade.note.endswith("below 1")
    assert not grader(metric).grade(f"<think>{REFERENCE}</think> no", problem).passed


def test_the_threshold_decides_what_has_passed_and_not_the_score() -> None:
    for threshold, passed in ((0.8, True), (0.9, False)):
        grade = grader("rouge_l", pass_threshold=threshold).grade(TEXT, {"answer": REFERENCE})
        assert (grade.score, grade.passed) == (pytest.approx(5 / 6), passed)


def test_a_reference_that_the_metric_cannot_read_is_refused() -> None:
    for metric, reference in (("rouge_3", "too short"), ("rouge_1", "кот на коврике"), ("bleu", "")):
        for refused in (lambda problem, metric=metric: grader(metric).grade("x", problem), grader(metric).gold):
            with pytest.raises(BadProblem, match="finds nothing to compare"):
                refused({"answer": reference})
    assert grader("fuzzy_match").grade("кот", {"answer": "кот"}).passed


def test_the_range_of_the_threshold() -> None:
    with pytest.raises(ValidationError, match="pass_threshold"):
        grader("gleu", pass_threshold=1.5)


def test_cosine_is_refused_openly() -> None:
    with pytest.raises(ValidationError, match="cosine compares embeddings, and posttrain has no embedding model"):
        grader("cosine")


def test_meteor_without_wordnet_is_refused_when_it_is_built() -> None:
    from nltk.corpus import wordnet

    try:
        wordnet.ensure_loaded()
    except LookupError:
        with pytest.raises(UserError, match=r"needs WordNet[^\n]*\n.*nltk\.downloader wordnet"):
            grader("meteor")
    else:
        check_problem([grader("meteor")], {"answer": REFERENCE})


@pytest.mark.parametrize(("metric", "package"), [("fuzzy_match", "rapidfuzz"), ("gleu", "nltk")])
def test_a_missing_extra_is_named(metric: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=r'pip install "posttrain\[similarity\]"'):
        grader(metric)
