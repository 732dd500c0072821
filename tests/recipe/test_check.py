"""`posttrain check`: every error of recipe, graders and rows at once, and nothing heavy imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from posttrain.errors import UserError, UserErrors
from posttrain.recipe.check import check_problems, check_recipe
from posttrain.recipe.load import load_recipe

RECIPE = """\
stage: rlvr
out: runs/a
data:
  train:
    - path: train.jsonl
  dev:
    - path: dev.jsonl
graders:
  - type: number
"""


def problem(i: int, answer: str) -> dict[str, str]:
    return {"prompt": f"What is {i} + 0?", "answer": answer}


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    rows = [problem(i, str(i)) for i in range(20)]
    for name, part in (("train", rows[:15]), ("dev", rows[15:])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    (tmp_path / "a.yaml").write_text(RECIPE)
    return tmp_path / "a.yaml"


def errors_of(recipe: Path, **options) -> list[str]:
    with pytest.raises(UserErrors) as raised:
        check_recipe(recipe, **options)
    here = f"{os.path.relpath(recipe.parent)}/"
    return [str(error).replace(f"{recipe.parent}/", "").replace(here, "") for error in raised.value.errors]


def test_a_good_recipe_is_reported(recipe):
    report = check_recipe(recipe)
    assert report[0] == f"{recipe}: rlvr into runs/a"
    assert "model: builtin:tiny (builtin)" in report
    assert "data: 15 train, 5 dev rows" in report
    assert "grader number: tried on 20 problems" in report
    assert report[-1] == "no errors found"


@pytest.mark.parametrize(
    "grader",
    [
        "{type: string, mode: contains}",
        "{type: string_check, input: '{{sample.output_text}}', reference: '{{item.answer}}', operation: ilike}",
        "{type: multi, calculate_output: n, graders: {n: {type: string, mode: contains}}}",
    ],
)
def test_a_grader_that_only_looks_for_the_answer_is_warned_of_as_a_reward(recipe, grader):
    warning = "  warning, where it pays a reward: "
    recipe.write_text(RECIPE + f"  - {grader}\n")
    (warned,) = [line for line in check_recipe(recipe) if line.startswith(warning)]
    assert "lists every answer" in warned
    gate = grader.replace("{", "{role: gate, ", 1)
    recipe.write_text(RECIPE + f"  - {gate}\n")
    assert not [line for line in check_recipe(recipe) if line.startswith(warning)]


def test_errors_of_every_kind_come_together(recipe):
    (recipe.parent / "grade.py").write_text("def score(completion, problem):\n    return 1.0\n")
    (recipe.parent / "dev.jsonl").write_text(json.dumps(problem(1, "lots")) + "\n{broken\n")
    recipe.write_text(
        RECIPE.replace("train.jsonl", "trian.jsonl")
        + "  - {type: python, path: 'grade.py:scor'}\nmodel: {path: builtin:tini}\ntrain: {learning_rat: 1}\n"
    )
    errors = errors_of(recipe)
    assert [error.split(":")[0] + ":" + error.split(":")[1].split(" ")[0] for error in errors] == [
        "dev.jsonl:2",
        "a.yaml:5",
        "a.yaml:10",
        "a.yaml:11",
        "a.yaml:12",
    ]
    assert "Did you mean 'train.jsonl'?" in errors[1]
    assert errors[2].startswith("a.yaml:10 graders[1]: grade.py: no function 'scor'. Did you mean 'score'?")
    assert errors[3].startswith("a.yaml:11 model.path: ")
    assert errors[4] == "a.yaml:12 train.learning_rat: unknown key. Did you mean 'learning_rate'?"


def test_a_gold_answer_that_cannot_be_graded_is_named_with_its_row(recipe):
    rows = [problem(i, "lots" if i < 12 else str(i)) for i in range(15)]
    (recipe.parent / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    errors = errors_of(recipe)
    assert len(errors) == 11
    assert sum(error.startswith("train.jsonl:") for error in errors) == 10
    assert "a.yaml:9 graders[0]: 2 more problems cannot be graded by number" in errors


def test_batch_sizes_that_make_no_whole_groups(recipe):
    recipe.write_text(
        RECIPE + "launch: {processes: 1}\ntrain:\n  per_device_train_batch_size: 3\n  num_generations: 7\n"
    )
    (error,) = errors_of(recipe)
    assert error.startswith("a.yaml:11 train: 24 completions a step")


def test_the_command_line_is_checked_too(recipe):
    errors = errors_of(recipe, overrides=["train.beta=x"], model="builtin:none")
    assert errors[0] == '--set train.beta: must be a number, not "x"'
    assert errors[1].startswith("--model: ")


def test_check_problems_raises_the_same_errors(recipe):
    loaded = load_recipe(recipe, stage="rlvr")
    from posttrain.data.load import load_data

    rows = load_data(loaded.recipe.data, "rlvr", seed=1, place=loaded.place)
    assert check_problems(loaded, rows.train) == ["grader number: tried on 15 problems"]


def test_checking_imports_nothing_heavy(recipe):
    code = (
        "import sys; from pathlib import Path; from posttrain.recipe.check import check_recipe; "
        "check_recipe(Path(sys.argv[1])); "
        "print([m for m in ('torch', 'transformers', 'trl', 'datasets', 'deepspeed') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code, str(recipe)], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_the_examples_of_an_eval_are_read(tmp_path: Path) -> None:
    (tmp_path / "dev.jsonl").write_text('{"prompt": "2+2?", "answer": 4}\n')
    path = tmp_path / "eval.yaml"
    path.write_text(
        "stage: eval\ndata: {dev: [{path: dev.jsonl}]}\ngraders: [{type: number}]\n"
        "eval:\n  prompts:\n    - name: shots\n      shots: [{path: shots.jsonl}]\n"
    )
    with pytest.raises(UserError, match=r"eval\.yaml:\d eval\.prompts\[0\]\.shots\[0\]\.path.*no file"):
        check_recipe(path)
