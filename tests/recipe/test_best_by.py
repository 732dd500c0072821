"""`eval.best_by` names a metric the stage has, and needs held-out rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from posttrain.errors import UserError
from posttrain.recipe.load import load_recipe

RECIPE = """stage: {stage}
out: runs/a
data:
  train: [{{path: rows.jsonl}}]
{dev}
{graders}
eval: {{samples: 8, k: [1, 4], best_by: {best_by}}}
"""


def write(folder: Path, stage: str, best_by: str, dev: str = "  dev: {fraction: 0.5}") -> Path:
    graders = "graders: [{type: number}]" if stage == "rlvr" else ""
    path = folder / "a.yaml"
    path.write_text(RECIPE.format(stage=stage, best_by=best_by, dev=dev, graders=graders))
    return path


@pytest.mark.parametrize(("stage", "best_by"), [("sft", "loss"), ("dpo", "rewards/margins"), ("rlvr", "pass@4")])
def test_a_metric_of_the_stage_is_taken(tmp_path: Path, stage: str, best_by: str) -> None:
    assert load_recipe(write(tmp_path, stage, best_by), stage=stage).recipe.eval.best_by == best_by


@pytest.mark.parametrize(
    ("stage", "best_by", "dev", "message"),
    [
        ("sft", "los", "  dev: {fraction: 0.5}", r"a\.yaml:7 eval\.best_by: .*'los'\. Did you mean 'loss'"),
        ("rlvr", "pass@8", "  dev: {fraction: 0.5}", r"no held-out metric 'pass@8'"),
        ("sft", "loss", "", r"add data\.dev"),
    ],
)
def test_another_is_refused(tmp_path: Path, stage: str, best_by: str, dev: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_recipe(write(tmp_path, stage, best_by, dev), stage=stage)
