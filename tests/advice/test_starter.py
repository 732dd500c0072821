"""Starter recipes pass `posttrain check`, for each kind of data, and nothing is overwritten."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from posttrain.advice.advise import Advised, take_advice
from posttrain.errors import UserError
from posttrain.recipe.check import check_recipe
from posttrain.recipe.yaml_lines import read_yaml

ROWS = Path(__file__).parents[2] / "recipes" / "quickstart" / "data"


def rows_file(path: Path, rows: Sequence[Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def checked(to: Path, *files: str) -> Advised:
    found = take_advice(files, to=to, with_cost=False)
    assert found.starter is not None
    recipes = [path for path in found.starter.files if path.suffix == ".yaml"]
    for recipe in recipes:
        assert check_recipe(recipe)[-1] == "no errors found"
    assert sorted(path.name for path in to.iterdir()) == sorted(path.name for path in found.starter.files)
    return found


def recipe_names(found: Advised) -> list[str]:
    assert found.starter is not None
    return [path.stem for path in found.starter.files if path.suffix == ".yaml"]


@pytest.mark.slow
def test_the_quickstart_gets_the_whole_chain(tmp_path: Path) -> None:
    found = checked(tmp_path / "start", *map(str, sorted(ROWS.glob("*.jsonl"))))
    assert recipe_names(found) == ["eval", "sft", "dpo", "kto", "rlvr"]
    assert found.starter is not None
    typed = [command.split()[1] for command, _ in found.starter.commands]
    assert typed == ["eval", "sft", "dpo", "kto", "signal", "rlvr", "eval"]
    assert found.starter.commands[-1][0].endswith("--model runs/dpo --model runs/kto --model runs/rlvr")
    recipe = read_yaml((tmp_path / "start" / "eval.yaml").read_text(), "eval.yaml").data
    assert [prompt["name"] for prompt in recipe["eval"]["prompts"]] == ["plain", "worded", "4 shots"]
    assert recipe["eval"]["prompts"][1]["template"].startswith("{prompt}\n\nThink")
    assert "unseen.jsonl" in recipe["data"]["unseen"][0]["path"]


def test_problems_alone_are_split_and_none_is_on_both_sides(tmp_path: Path) -> None:
    problems = [{"question": f"what is {n} + 1?", "answer": n + 1} for n in range(10)]
    found = checked(tmp_path / "start", rows_file(tmp_path / "sums.jsonl", problems))
    assert recipe_names(found) == ["eval", "rlvr"]
    parts = [(tmp_path / "start" / f"sums.{part}.jsonl").read_text().splitlines() for part in ("train", "dev")]
    assert sorted(map(len, parts)) == [2, 8]
    assert sorted(json.loads(row)["answer"] for part in parts for row in part) == list(range(1, 11))


@pytest.mark.parametrize(
    "files",
    [
        pytest.param(["math/gsm8k_train.jsonl.gz", "math/gsm8k_test.jsonl.gz"], marks=pytest.mark.slow),
        ["dpo/hh_harmless_base_test.jsonl.gz"],
        ["dpo/orca_dpo_openai_format.jsonl.gz"],
        ["kto/llamafactory_kto_en_demo.jsonl.gz"],
        pytest.param(["sft/banking77_train.csv.gz", "sft/banking77_test.csv.gz"], marks=pytest.mark.slow),
        ["sft/zava_sft_test.jsonl.gz"],
        ["sft/gpteacher_codegen.jsonl.gz"],
        ["mc/mmlu_dev.jsonl.gz"],
        pytest.param(["code/humaneval.jsonl.gz"], marks=pytest.mark.slow),
    ],
)
def test_real_data_gets_recipes_that_pass(shared_data: Path, tmp_path: Path, files: list[str]) -> None:
    assert recipe_names(checked(tmp_path / "start", *(str(shared_data / file) for file in files)))


def test_json_answers_and_labels_get_recipes_that_pass(tmp_path: Path) -> None:
    answers = [{"prompt": f"parse {n}", "answer": {"total": n}} for n in range(20)]
    assert recipe_names(checked(tmp_path / "json", rows_file(tmp_path / "a.jsonl", answers))) == ["eval", "rlvr"]
    labels = [{"text": f"ticket {n}", "category": ["late", "lost"][n % 2]} for n in range(200)]
    checked(tmp_path / "labels", rows_file(tmp_path / "b.jsonl", labels))
    recipe = read_yaml((tmp_path / "labels" / "eval.yaml").read_text(), "eval.yaml").data
    assert "one of these and nothing else: late, lost." in recipe["eval"]["prompts"][1]["template"]


def test_a_recipe_is_advised_on_too(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        f"stage: sft\nout: runs/x\ndata:\n  train: [{{path: {ROWS / 'sft.jsonl'}}}]\n"
        f"  dev: [{{path: {ROWS / 'unseen.jsonl'}, columns: {{completion: answer}}}}]\n"
    )
    found = take_advice([str(recipe)], with_cost=False)
    assert found.model == "builtin:tiny"
    assert [(facts.name, facts.held_out) for facts in found.here.sources] == [
        ("sft.jsonl", False),
        ("unseen.jsonl", True),
    ]


def test_nothing_is_overwritten_without_force(tmp_path: Path) -> None:
    (tmp_path / "sft.yaml").write_text("mine")
    with pytest.raises(UserError, match="is there already"):
        take_advice([str(ROWS / "sft.jsonl")], to=tmp_path, with_cost=False)
    assert [path.name for path in tmp_path.iterdir()] == ["sft.yaml"]
    take_advice([str(ROWS / "sft.jsonl")], to=tmp_path, with_cost=False, force=True)
    assert (tmp_path / "sft.yaml").read_text().startswith("# Imitate: 1,000 rows")


@pytest.mark.slow
def test_the_command_says_it_for_people_and_for_programs(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "posttrain", "advise", str(ROWS / "sft.jsonl"), "--no-cost"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "2 sft   fits\n" in said and "3 dpo   does not fit\n" in said
    document = json.loads(subprocess.run([*command, "--json"], capture_output=True, text=True, check=True).stdout)
    assert [method["verdict"] for method in document["methods"]] == ["first", "fits", "no", "no", "no"]
    assert document["sources"][0]["stages"]["sft"]["rows"] == 1000
    few = rows_file(tmp_path / "few.jsonl", [{"prompt": "a", "completion": "b"}])
    done = subprocess.run([*command[:-2], few, "--to", str(tmp_path / "to")], capture_output=True, text=True)
    assert done.returncode == 2 and "fits once there are more rows" in done.stdout
    assert "no recipe was written" in done.stderr and not (tmp_path / "to").exists()


def test_sources_of_one_name_lose_no_row(tmp_path: Path) -> None:
    files = []
    for folder, first, count in (("a", 0, 40), ("b", 100, 50)):
        (tmp_path / folder).mkdir()
        rows = [{"question": f"what is {n} + 1?", "answer": n + 1} for n in range(first, first + count)]
        files.append(rows_file(tmp_path / folder / "train.jsonl", rows))
    found = checked(tmp_path / "start", *files)
    assert found.starter is not None
    parts = [path for path in found.starter.files if path.suffix == ".jsonl"]
    assert len(parts) == 4
    questions = [json.loads(line)["question"] for path in parts for line in path.read_text().splitlines()]
    assert len(questions) == len(set(questions)) == 90
    listed = read_yaml((tmp_path / "start" / "rlvr.yaml").read_text(), "rlvr.yaml").data["data"]["train"]
    assert sorted(source["path"] for source in listed) == ["a-train.train.jsonl", "b-train.train.jsonl"]


def test_problems_of_another_grader_are_named_where_they_are_left_out(tmp_path: Path) -> None:
    sums = [{"question": f"what is {n} + 1?", "answer": n + 1} for n in range(30)]
    words = [
        {"question": f"what do they say, number {n}?", "answer": ["lost card", "top up"][n % 2]} for n in range(20)
    ]
    checked(tmp_path / "start", rows_file(tmp_path / "sums.jsonl", sums), rows_file(tmp_path / "words.jsonl", words))
    for name in ("rlvr", "eval"):
        text = (tmp_path / "start" / f"{name}.yaml").read_text()
        assert "# words.jsonl: judged by another grader, so not in here" in text
    assert "Find out: 30 problems" in (tmp_path / "start" / "rlvr.yaml").read_text()


def test_what_cannot_be_split_leaves_no_file(tmp_path: Path) -> None:
    rows = [{"question": "what is 1 + 1?", "answer": 2}] * 200
    with pytest.raises(UserError, match="cannot be held out"):
        take_advice([rows_file(tmp_path / "rep.jsonl", rows)], to=tmp_path / "start", with_cost=False)
    assert list((tmp_path / "start").iterdir()) == []
