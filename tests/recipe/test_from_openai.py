"""OpenAI's fine-tuning jobs as recipes: what is carried over, what is said not to be, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from posttrain.errors import UserError
from posttrain.graders import GRADERS
from posttrain.recipe.check import check_recipe
from posttrain.recipe.from_openai import Converted, convert_job, write_recipe
from posttrain.recipe.load import load_recipe
from posttrain.recipe.schema import Recipe
from posttrain.stages.arguments import train_settings

pytest.importorskip("rapidfuzz")
pytest.importorskip("jsonschema")

GRADER = {
    "type": "multi",
    "name": "clause",
    "graders": {
        "text": {
            "type": "text_similarity",
            "name": "text",
            "input": "{{sample.output_json.text}}",
            "reference": "{{item.text}}",
            "evaluation_metric": "fuzzy_match",
        },
        "kind": {
            "type": "string_check",
            "name": "kind",
            "input": "{{sample.output_json.kind}}",
            "reference": "{{item.kind}}",
            "operation": "eq",
        },
    },
    "calculate_output": "0.5 * text + 0.5 * kind",
}
FORMAT = {"type": "json_schema", "name": "clause", "strict": True, "schema": {"type": "object", "required": ["kind"]}}
RL = {
    "model": "o4-mini-2025-04-16",
    "training_file": "train.jsonl",
    "validation_file": "valid.jsonl",
    "suffix": "clauses, first try",
    "seed": 7,
    "method": {
        "type": "reinforcement",
        "reinforcement": {
            "grader": GRADER,
            "response_format": FORMAT,
            "hyperparameters": {
                "n_epochs": 3,
                "batch_size": 16,
                "eval_interval": 5,
                "eval_samples": 4,
                "learning_rate_multiplier": 2,
                "compute_multiplier": "auto",
                "reasoning_effort": "high",
            },
        },
    },
}
PREFERENCE = {
    "input": {"messages": [{"role": "user", "content": "Which city?"}]},
    "preferred_output": [{"role": "assistant", "content": "Paris"}],
    "non_preferred_output": [{"role": "assistant", "content": "Some city."}],
}


def clause(number: int) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": f"Clause {number}?"}], "text": f"no. {number}", "kind": "A"}


def written(folder: Path, job: dict[str, Any], *rows: Any) -> Path:
    for name, part in (("train", rows[::2]), ("valid", rows[1::2])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    (folder / "job.json").write_text(json.dumps(job, indent=1))
    return folder / "job.json"


def converted(folder: Path, job: dict[str, Any], *rows: Any, **options: Any) -> tuple[Converted, Path]:
    made = convert_job(written(folder, job, *rows), to=folder / "new", **options)
    return made, write_recipe(made, folder / "new")


def test_a_reinforcement_job(tmp_path: Path) -> None:
    made, path = converted(tmp_path, RL, clause(1), clause(2), clause(3))
    assert path.name == "rlvr.yaml"
    recipe = load_recipe(path, stage="rlvr").recipe
    assert (recipe.out, recipe.seed, recipe.model.path) == ("runs/clauses-first-try", 7, "builtin:tiny")
    assert (recipe.eval.every, recipe.eval.samples, recipe.eval.k) == (5, 4, [1, 4])
    settings = train_settings(recipe)
    assert settings["num_train_epochs"] == 3 and "max_steps" not in settings
    completions = settings["per_device_train_batch_size"] * settings["gradient_accumulation_steps"]
    assert completions == 16 * settings["num_generations"]
    given, gate = (grader.model_dump(exclude_unset=True) for grader in recipe.graders)
    assert given == GRADER
    assert gate == {"type": "json", "name": "response_format", "role": "gate", "fields": {}, "schema": FORMAT}
    assert [line.partition(":")[0] for line in made.left_out] == [
        "model",
        "learning_rate_multiplier",
        "compute_multiplier",
        "reasoning_effort",
    ]
    assert all(f"#   {line}\n" in path.read_text() for line in made.left_out)


def test_what_is_written_passes_check(tmp_path: Path) -> None:
    _, path = converted(tmp_path, RL, clause(1), clause(2), clause(3))
    report = check_recipe(path)
    assert "data: 2 train, 1 dev rows" in report
    assert "grader clause: tried on 3 problems" in report
    assert report[-1] == "no errors found"


def test_a_preference_job(tmp_path: Path) -> None:
    hyperparameters = {"beta": 0.2, "n_epochs": "auto", "batch_size": 12}
    job = {
        "model": "gpt-4o",
        "training_file": "train.jsonl",
        "method": {"type": "dpo", "dpo": {"hyperparameters": hyperparameters}},
    }
    made, path = converted(tmp_path, job, PREFERENCE, model="org/model")
    recipe = load_recipe(path, stage="dpo").recipe
    assert recipe.model.path == "org/model"
    assert recipe.train == {"beta": 0.2, "per_device_train_batch_size": 6, "gradient_accumulation_steps": 2}
    assert recipe.data.dev is None and recipe.graders == []
    assert made.left_out[1:] == ["n_epochs: auto; posttrain's own default stands instead"]
    assert check_recipe(path, model="builtin:tiny")[-1] == "no errors found"


@pytest.mark.parametrize(
    "method",
    [
        {"hyperparameters": {"n_epochs": 2, "batch_size": "auto"}},
        {"method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2}}, "dpo": None}},
    ],
)
def test_a_supervised_job_as_it_was_asked_for_and_as_it_is_recorded(tmp_path: Path, method: dict[str, Any]) -> None:
    record = {
        "object": "fine_tuning.job",
        "id": "ftjob-1",
        "status": "succeeded",
        "error": None,
        "result_files": [],
        "user_provided_suffix": "greetings",
        "metadata": {"team": "a"},
        "integrations": [{"type": "wandb", "wandb": {"project": "p"}}],
    }
    job = {"model": "gpt-4o-mini", "training_file": "train.jsonl", "validation_file": None, **method, **record}
    chat = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]}
    made, path = converted(tmp_path, job, chat)
    recipe = load_recipe(path, stage="sft").recipe
    assert (recipe.out, recipe.train) == ("runs/greetings", {"num_train_epochs": 2})
    assert [line.partition(";")[0] for line in made.left_out][-2:] == ["integrations", "metadata"]
    assert check_recipe(path)[-1] == "no errors found"


def test_files_at_openai_are_asked_for_together(tmp_path: Path) -> None:
    job = RL | {"training_file": "file-abc123", "validation_file": "file-def456"}
    with pytest.raises(UserError) as error:
        converted(tmp_path, job)
    assert "file-abc123 is a file at OpenAI\n  give your copy of it: --train FILE.jsonl" in str(error.value)
    assert "file-def456 is a file at OpenAI\n  give your copy of it: --dev FILE.jsonl" in str(error.value)
    _, path = converted(
        tmp_path, job, clause(1), clause(2), train=tmp_path / "train.jsonl", dev=tmp_path / "valid.jsonl"
    )
    assert check_recipe(path)[-1] == "no errors found"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metdata": {}}, "metdata: unknown key. Did you mean 'metadata'?"),
        ({"seed": -1}, "seed: must be at least 0"),
        ({"method": {"type": "ppo"}}, "method.type: must be 'supervised', 'dpo' or 'reinforcement'"),
        ({"method": {"type": "reinforcement"}}, "method: reinforcement is missing"),
        ({"method": {"type": "reinforcement", "reinforcement": {}}}, "method.reinforcement.grader: missing"),
        (
            {"method": {"type": "dpo", "dpo": {"hyperparameters": {"betta": 1}}}},
            "method.dpo.hyperparameters.betta: unknown key. Did you mean 'beta'?",
        ),
        (
            {"method": {"type": "dpo", "dpo": {"hyperparameters": {"n_epochs": "many"}}}},
            "method.dpo.hyperparameters.n_epochs: must be a whole number or 'auto'",
        ),
        (
            {"method": {"type": "reinforcement", "reinforcement": {"grader": {"type": "string_chek"}}}},
            "method.reinforcement.grader.type: must be",
        ),
        (
            {
                "method": {
                    "type": "reinforcement",
                    "reinforcement": {"grader": GRADER | {"calculate_output": "text + kid"}},
                }
            },
            "method.reinforcement.grader.calculate_output: no grader 'kid' at character 8. Did you mean 'kind'?",
        ),
    ],
)
def test_a_mistake_has_its_place(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        convert_job(written(tmp_path, RL | change), to=tmp_path)
    assert f" {message}" in str(error.value)
    assert str(error.value).startswith(f"{tmp_path / 'job.json'}:")


def test_a_published_judge_is_named(shared_data: Path, tmp_path: Path) -> None:
    if "score_model" not in GRADERS:
        pytest.skip("there is no grader score_model")
    judge = json.loads((shared_data / "rft" / "countdown_score_model_grader.json").read_text())
    grader = {"type": "multi", "graders": {"judge": judge}, "calculate_output": "judge / 5"}
    made, path = converted(tmp_path, RL | {"method": {"type": "reinforcement", "reinforcement": {"grader": grader}}})
    assert made.left_out[1:] == ["judge: o3-mini is asked where the grader's base_url says, or OPENAI_BASE_URL"]
    (again,) = load_recipe(path, stage="rlvr").recipe.graders
    assert again.model_dump(exclude_unset=True)["graders"]["judge"]["input"] == judge["input"]


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    made, _ = converted(tmp_path, RL)
    with pytest.raises(UserError, match="already there; nothing is overwritten"):
        write_recipe(made, tmp_path / "new")


def test_a_text_of_several_lines_stands_as_it_is(tmp_path: Path) -> None:
    grader = {"type": "string_check", "name": "a", "input": "{{sample.output_text}}", "reference": "one\n  two\n"}
    method = {"type": "reinforcement", "reinforcement": {"grader": grader | {"operation": "eq"}}}
    made, path = converted(tmp_path, RL | {"method": method})
    assert "  reference: |\n    one\n      two\n" in made.text
    (again,) = load_recipe(path, stage=None).recipe.graders
    assert again.reference == grader["reference"]  # type: ignore[attr-defined]


def test_a_long_path_stays_on_its_line(tmp_path: Path) -> None:
    name = "rows " * 30 + ".jsonl"
    _, path = converted(tmp_path, RL | {"training_file": name})
    assert load_recipe(path, stage="rlvr").recipe.data.train[0].path == str(tmp_path / name)


def test_what_others_wrote_stays_a_comment(tmp_path: Path) -> None:
    _, path = converted(tmp_path, RL | {"model": "o4\nstage: sft", "suffix": "a\nseed: 1"})
    recipe = load_recipe(path, stage="rlvr").recipe
    assert (recipe.out, recipe.seed) == ("runs/a-seed-1", 7)


def test_the_command(tmp_path: Path) -> None:
    """The recipe alone on stdout, what is not carried over on stderr, and nothing heavy imported."""
    command = [sys.executable, "-m", "posttrain", "recipe", "from-openai"]
    job = written(tmp_path, RL, clause(1), clause(2))
    done = subprocess.run([*command, "job.json"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == convert_job(job, to=tmp_path).text
    assert "not carried over: learning_rate_multiplier: 2" in done.stderr
    (tmp_path / "rlvr.yaml").write_text(done.stdout)
    assert isinstance(load_recipe(tmp_path / "rlvr.yaml", stage="rlvr").recipe, Recipe)
    done = subprocess.run([*command, job, "--to", "new"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "new/rlvr.yaml\n"
    assert check_recipe(tmp_path / "new" / "rlvr.yaml")[-1] == "no errors found"
