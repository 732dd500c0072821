"""The recipe of constraints: problems that are the same each time, apart from each other, and that can be solved."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from posttrain.graders.instruction import InstructionSettings, make
from posttrain.recipe.check import check_recipe

FOLDER = Path(__file__).parents[2] / "recipes" / "constraints"
FILES = ("train", "dev", "unseen", "reworded")
POSTTRAIN = [sys.executable, "-m", "posttrain"]

# What follows a constraint of each family, from its arguments, and what does not.
EXAMPLES: dict[str, tuple[Callable[[dict[str, Any]], str], Callable[[dict[str, Any]], str]]] = {
    "no comma": (lambda _: "Tea is warm and good.", lambda _: "Tea is warm, and good."),
    "capitals": (lambda _: "TEA IS WARM AND GOOD IN THE MORNING.", lambda _: "Tea is warm and good in the morning."),
    "quotation": (lambda _: '"Tea is warm."', lambda _: '"Tea is warm.'),
    "title": (lambda _: "<<On tea>>\nIt is warm.", lambda _: "On tea\nIt is warm."),
    "first word": (lambda asked: f"{asked['first_word']} it is warm.", lambda asked: f"It is {asked['first_word']}."),
    "keyword": (lambda asked: f"Tea is {asked['keywords'][0]}.", lambda _: "Tea warms."),
    "few words": (lambda asked: "tea " * (asked["num_words"] - 1), lambda asked: "tea " * asked["num_words"]),
    "many words": (lambda asked: "tea " * asked["num_words"], lambda asked: "tea " * (asked["num_words"] - 1)),
    "few sentences": (
        lambda asked: "Tea is warm. " * (asked["num_sentences"] - 1),
        lambda asked: "Tea is warm. " * asked["num_sentences"],
    ),
    "bullets": (lambda asked: "* tea\n" * asked["num_bullets"], lambda asked: "* tea\n" * (asked["num_bullets"] + 1)),
    "postscript": (lambda asked: f"Tea.\n{asked['postscript_marker']} Warm.", lambda _: "Tea.\nPS Warm."),
    "lower case": (lambda _: "tea is warm and good in the morning.", lambda _: "Tea is warm and good in the morning."),
    "ending": (lambda asked: f"Warm. {asked['end_phrase']}", lambda asked: f"{asked['end_phrase']} Warm."),
    "last word": (lambda asked: f"Warm tea {asked['last_word']}.", lambda asked: f"{asked['last_word']} is warm."),
    "forbidden word": (lambda _: "Warm tea!", lambda asked: f"Tea {asked['forbidden_words'][0]} warm."),
    "word once": (lambda asked: f"Tea: {asked['keyword']}.", lambda asked: f"{asked['keyword']} {asked['keyword']}"),
    "word twice": (lambda asked: f"{asked['keyword']} {asked['keyword']}", lambda asked: f"Tea {asked['keyword']}."),
    "letter": (lambda _: "Hey!", lambda asked: asked["letter"] * asked["let_frequency"]),
    "capital words": (lambda asked: "TEA " * asked["capital_frequency"], lambda _: "TEA is warm."),
    "no full stop": (lambda _: "Tea is warm!", lambda _: "Tea is warm."),
    "highlight": (lambda _: "Tea is *warm*.", lambda _: "Tea is warm."),
    "placeholder": (lambda _: "Tea for [name].", lambda _: "Tea for you."),
    "two paragraphs": (lambda _: "Tea.\n\nWarm tea.", lambda _: "Tea. Warm tea."),
}


def module(name: str) -> ModuleType:
    """Return a script of the recipe as a module."""
    spec = importlib.util.spec_from_file_location(f"constraints_{name}", FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = loaded  # NamedTuple looks its module up
    spec.loader.exec_module(loaded)
    return loaded


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recipe's folder as a user has it, its data made."""
    folder = tmp_path_factory.mktemp("recipes") / "constraints"
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("__pycache__", "data"))
    prepare(folder, folder / "data")
    return folder


def prepare(folder: Path, out: Path, *options: str) -> None:
    subprocess.run([sys.executable, str(folder / "prepare.py"), str(out), *options], check=True, capture_output=True)


def rows_of(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def test_a_seed_gives_the_same_files(recipe: Path, tmp_path: Path) -> None:
    prepare(recipe, tmp_path / "again")
    prepare(recipe, tmp_path / "other", "--seed", "8")
    made = {name: (recipe / "data" / f"{name}.jsonl").read_bytes() for name in FILES}
    assert {name: (tmp_path / "again" / f"{name}.jsonl").read_bytes() for name in FILES} == made
    assert all((tmp_path / "other" / f"{name}.jsonl").read_bytes() != made[name] for name in FILES)


def test_no_prompt_is_there_twice_and_the_families_are_even(recipe: Path) -> None:
    rows = {name: rows_of(recipe / "data", name) for name in FILES}
    prompts = [row["prompt"] for name in FILES for row in rows[name]]
    assert len(set(prompts)) == len(prompts) == sum(map(len, rows.values()))
    counts = {name: Counter(row["family"] for row in rows[name]) for name in FILES}
    assert {name: (len(each), set(each.values())) for name, each in counts.items()} == {
        "train": (11, {44}),
        "dev": (11, {15}),
        "unseen": (12, {12}),
        "reworded": (11, {12}),
    }


def test_a_topic_is_in_one_part_alone(recipe: Path) -> None:
    listed = module("prepare").REQUESTS
    topic_of = {
        template.format(topic=topic): topic
        for topics, templates in listed.items()
        for topic in (one.strip() for one in topics.replace("\n", " ").split(","))
        for template in templates
    }
    assert len(set(topic_of.values())) == 100
    found: dict[str, set[str]] = {"train": set(), "dev": set(), "other": set()}
    for name in FILES:
        prompts = [row["prompt"] for row in rows_of(recipe / "data", name)]
        asked = {request for request in topic_of if any(prompt.startswith(f"{request} ") for prompt in prompts)}
        found[name if name in found else "other"] |= {topic_of[request] for request in asked}
    assert {part: len(topics) for part, topics in found.items()} == {"train": 60, "dev": 20, "other": 20}
    assert len(set().union(*found.values())) == 100


def test_training_knows_neither_the_unseen_families_nor_the_other_words(recipe: Path) -> None:
    prepared = module("prepare")
    assert {row["family"] for row in rows_of(recipe / "data", "unseen")} == prepared.UNSEEN.keys()
    assert prepared.UNSEEN.keys().isdisjoint(prepared.SEEN)
    assert {one.id for one in prepared.UNSEEN.values()}.isdisjoint(one.id for one in prepared.SEEN.values())
    for family in prepared.SEEN.values():
        assert len(family.others) == 2
        assert set(family.others).isdisjoint(family.wordings)


@pytest.mark.parametrize("name", FILES)
def test_each_problem_takes_an_example_and_refuses_another(recipe: Path, name: str) -> None:
    grader = make(InstructionSettings(type="instruction"), recipe)
    for row in rows_of(recipe / "data", name):
        follows, breaks = EXAMPLES[row["family"]]
        (asked,) = row["kwargs"]
        assert grader.grade(follows(asked), row).passed, row
        assert not grader.grade(breaks(asked), row).passed, row


def test_the_arguments_stand_in_the_prompt(recipe: Path) -> None:
    for name in FILES:
        for row in rows_of(recipe / "data", name):
            (asked,) = row["kwargs"]
            said = [
                value[0] if isinstance(value, list) else str(value)
                for argument, value in asked.items()
                if not argument.endswith("relation")
            ]
            assert all(value in row["prompt"] for value in said), row


@pytest.mark.parametrize("name", ["rlvr.yaml", "eval.yaml"])
def test_the_recipes_check(recipe: Path, name: str) -> None:
    report = check_recipe(recipe / name, model="builtin:tiny")
    assert report[-1] == "no errors found"


def test_the_mean_of_a_window_grows_to_the_window() -> None:
    assert module("curve").running_mean([1.0, 0.0, 0.5, 1.0], window=2) == [1.0, 0.5, 0.25, 0.75]


def test_kinds_are_counted_over_their_samples() -> None:
    kinds = module("kinds")
    problems = [{"prompt": "a", "family": "title"}, {"prompt": "b", "family": "bullets"}]
    verdicts = [("a", True), ("a", False), ("b", True), ("b", True), ("left out", False)]
    samples = [{"prompt": [{"role": "user", "content": asked}], "passed": passed} for asked, passed in verdicts]
    found = kinds.shares(problems, samples)
    assert found == {"title": 0.5, "bullets": 1.0, "all": 0.75}
    assert kinds.table({"base": found}).splitlines()[2:] == ["| title | 50% |", "| bullets | 100% |", "| all | 75% |"]


@pytest.mark.slow
def test_it_trains_and_its_curve_and_kinds_are_shown(recipe: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    short = sets("train.max_steps=2", "train.max_completion_length=16", "signal.problems=0", "eval.limit=11")
    run([*POSTTRAIN, "rlvr", recipe / "rlvr.yaml", "--model", "builtin:tiny", *short], tmp_path)
    trained = tmp_path / "runs" / "constraints" / "rlvr"
    short = sets("model.path=builtin:tiny", "eval.limit=22", "rollout.max_new_tokens=16")
    for look in ([], ["--unseen"]):
        run([*POSTTRAIN, "eval", recipe / "eval.yaml", *look, "--model", "base", "--model", trained, *short], tmp_path)

    run([sys.executable, recipe / "curve.py", trained, "curve.png"], tmp_path)
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")

    samples = sorted((tmp_path / "runs" / "constraints" / "eval" / "samples").glob("unseen-*.jsonl"))
    shown = run([sys.executable, recipe / "kinds.py", recipe / "data" / "unseen.jsonl", *samples], tmp_path)
    assert len(samples) == 2
    assert [line.count("|") for line in shown.splitlines()] == [4] * (1 + 1 + 12 + 1)


def sets(*pairs: str) -> list[str]:
    return [word for pair in pairs for word in ("--set", pair)]


def run(command: list[Any], cwd: Path) -> str:
    done = subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
