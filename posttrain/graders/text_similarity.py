"""Grader `text_similarity`: OpenAI's. How alike two texts are."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from posttrain.graders.grade import BadProblem, Grade, Grader, shortened, verdict
from posttrain.graders.pair import PairSettings, both_texts, gold_texts
from posttrain.graders.similarity import METRICS, similarity

_ROUNDING = 1e-9


class TextSimilaritySettings(PairSettings):
    """OpenAI's text similarity: how alike the input and the reference are, from 0 to 1."""

    type: Literal["text_similarity"]
    evaluation_metric: Literal[
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
        "cosine",
    ] = Field(description="What alike means (docs/graders.md); cosine is refused.")
    pass_threshold: float | None = Field(
        None,
        ge=0,
        le=1,
        description="A score at least this high has passed; absent: the score of the reference against itself.",
    )

    @field_validator("evaluation_metric")
    @classmethod
    def _is_computed_here(cls, metric: str) -> str:
        if metric not in METRICS:
            raise ValueError(
                f"{metric} compares embeddings, and posttrain has no embedding model: take {', '.join(METRICS[:3])} "
                "or rouge_l, or let a score_model grader judge the meaning"
            )
        return metric


def make(settings: TextSimilaritySettings, base_dir: Path) -> Grader:
    """Return the grader; raises UserError when its metric's library or data is not installed."""
    alike = similarity(settings.evaluation_metric)

    def grade(completion: str, problem: Mapping[str, Any]) -> Grade:
        text, reference = both_texts(settings, completion, problem)
        if text is None:
            return verdict(False, reference)
        score, enough = alike(text, reference), threshold(reference)
        passed = score >= enough - _ROUNDING
        note = "" if passed else f"{settings.evaluation_metric} {score:.3f}, below {enough:.3g}"
        return Grade(score, passed, note, text)

    @lru_cache(maxsize=4096)  # one problem has many completions
    def threshold(reference: str) -> float:
        highest = alike(reference, reference)
        if highest == 0:
            raise BadProblem(
                f"{settings.evaluation_metric} finds nothing to compare in the reference {shortened(reference)!r}: too "
                "few words, or none that it reads"
            )
        return highest if settings.pass_threshold is None else settings.pass_threshold

    def gold(problem: Mapping[str, Any]) -> str | None:
        made = gold_texts(settings, problem)
        if made is not None:
            threshold(made[1])
        return made[0] if made else None

    return Grader(settings.name or settings.type, settings.weight, grade, gold)
