"""Grader `label_model`: another model gives a label, and some labels pass. OpenAI's JSON, asked of any endpoint."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from posttrain.graders.grade import Grade, Grader, failure, shortened, verdict
from posttrain.graders.judge import JudgeSettings, make_judge
from posttrain.graders.judge_reply import read_label


class LabelModelSettings(JudgeSettings):
    """1 if a judge model's label is one that passes, else 0. OpenAI's `label_model`. Needs the extra `endpoint`."""

    type: Literal["label_model"]
    labels: list[str] = Field(min_length=2, description="The labels that the judge chooses from.")
    passing_labels: list[str] = Field(min_length=1, description="Those of them that pass.")

    @model_validator(mode="after")
    def _labels_can_be_told_apart(self) -> LabelModelSettings:
        if unknown := [label for label in self.passing_labels if label not in self.labels]:
            raise ValueError(f"passing_labels: {unknown[0]!r} is not one of labels")
        if not all(label.strip() for label in self.labels) or len(set(self.labels)) < len(self.labels):
            raise ValueError("labels: each must be a text of its own")
        return self


def make(settings: LabelModelSettings, base_dir: Path) -> Grader:
    """Return the grader; it reads the problem's fields that the templates name. Raises UserError without a judge."""
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {"label": {"type": "string", "enum": settings.labels}},
        "required": ["label"],
        "additionalProperties": False,
    }

    def read(reply: str) -> str | Grade:
        label = read_label(reply, settings.labels)
        return label or failure("model_grader_parse_error", f"none of the labels: {shortened(reply)!r}")

    def settle(labels: list[str]) -> Grade:
        (label, most), *others = Counter(labels).most_common()
        if others and others[0][1] == most:
            return failure("model_grader_parse_error", f"as many replies for {others[0][0]!r} as for {label!r}")
        return verdict(label in settings.passing_labels)

    return make_judge(settings, schema, 0.0, read, settle)
