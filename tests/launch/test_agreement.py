"""What ranks must have in common, and how a difference is told; that real ranks tell it, test_ranks shows."""

from __future__ import annotations

import platform
from importlib.metadata import version

from posttrain.launch.agreement import about, differences
from posttrain.recipe.schema import Recipe

RECIPE = Recipe.model_validate(
    {"stage": "sft", "out": "runs/a", "data": {"train": [{"path": "a.jsonl"}]}, "train": {"learning_rate": 1e-5}}
)


def common(recipe: Recipe = RECIPE, rows: str = "1" * 64, model: str = "2" * 64) -> dict[str, str]:
    return about(recipe.model_dump(mode="json"), rows=rows, model=model)


def test_what_they_have_in_common() -> None:
    said = common()
    assert said["stage"] == "'sft'"
    assert said["train.learning_rate"] == "1e-05"
    assert said["launch.zero"] == "0"
    assert (said["the rows"], said["the model"]) == ("1" * 12, "2" * 12)
    assert said["python"] == platform.python_version()
    assert {name: said[name] for name in ("torch", "deepspeed")} == {
        name: version(name) for name in ("torch", "deepspeed")
    }


def test_nothing_differs() -> None:
    assert differences([("rank 0 (a)", common()), ("rank 1 (b)", common())]) == []


def test_what_differs_and_where() -> None:
    other = RECIPE.model_copy(update={"train": {"learning_rate": 2e-5, "max_steps": 4}})
    told = [
        ("rank 0 (a)", common()),
        ("rank 1 (a)", common()),
        ("rank 2 (b)", common(other)),
        ("rank 3 (b)", common(rows="3" * 64)),
    ]
    assert differences(told) == [
        "train.learning_rate: 1e-05 on rank 0 (a), rank 1 (a), rank 3 (b); 2e-05 on rank 2 (b)",
        "the rows: 111111111111 on rank 0 (a), rank 1 (a), rank 2 (b); 333333333333 on rank 3 (b)",
        "train.max_steps: nothing on rank 0 (a), rank 1 (a), rank 3 (b); 4 on rank 2 (b)",
    ]


def test_not_without_end() -> None:
    told = [("rank 0 (a)", {str(key): "1" for key in range(50)}), ("rank 1 (b)", {})]
    lines = differences(told)
    assert (len(lines), lines[-1]) == (21, "and 30 more")
