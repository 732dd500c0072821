"""Broken recipes: a message, or a plan; soon, in little memory, and without running anything. See recipes.py."""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from tests.faults.recipes import (
    CANARY,
    MORE,
    Broken,
    as_yaml,
    broken_recipes,
    hostile,
    outcome,
    outcome_of_command,
    random,
    workplace,
)


@pytest.fixture
def place() -> Any:
    with workplace() as folder:
        outcome(Broken("", as_yaml(random.Random(0), MORE[0])), folder)  # what is imported once does not count
        yield folder


def checked(recipes: Any, place: Path) -> list[str]:
    """Return the messages of those that were refused."""
    said = []
    for broken in recipes:
        found = outcome(broken, place)
        assert not found.wrong or found.wrong.endswith(" s"), (broken.name, found.wrong, broken.content[:2000])
        assert found.seconds < 3, (broken.name, found.seconds)  # 1 s on a machine of its own; tests share theirs
        said += [found.said] if found.said else []
    assert not (place / CANARY).exists()
    return said


@pytest.mark.slow
def test_hostile_yaml(place: Path) -> None:
    checked(hostile(), place)
    by_name = {broken.name: outcome(broken, place).said for broken in hostile() if broken.name in EXPECTED}
    for name, words in EXPECTED.items():
        assert words in by_name[name], (name, by_name[name])


EXPECTED = {
    "alias bomb": "aliases (*name) are not read",
    "apply": "tags (!name) are not read",
    "merge bomb": "aliases (*name) are not read",
    "cycle": "aliases (*name) are not read",
    "deep lists": "nested too deeply",
    "deep blocks": "nested too deeply",
    "many keys": "more than 15,000 keys and values",
    "larger text": "too large to be a recipe",
    "large text": "longer than 500,000 characters",
    "huge integer": "longer than 500,000 characters",
    "long integer": "a whole number of more than 64 bits",
    "infinite": "must be finite",
    "not a number": "seed: must be a whole number",
    "surrogate": "the character \\ud800 is not read",
    "nul": "#x0000",
    "many documents": "found another document",
    "many graders": "a list of at most 50",
    "many wrong keys": "more errors",
    "utf-16": "not UTF-8 text",
}


@pytest.mark.slow
def test_mutations_of_the_shipped_recipes(place: Path) -> None:
    recipes = islice(broken_recipes(20), len(list(hostile())), 500)
    said = checked(recipes, place)
    assert len(said) > 200


def test_a_few_mutations(place: Path) -> None:
    recipes = islice(broken_recipes(21), len(list(hostile())), len(list(hostile())) + 100)
    assert len(checked(recipes, place)) > 40


@pytest.mark.slow
def test_by_the_command_line(place: Path) -> None:
    every = list(islice(broken_recipes(22), 300))
    for broken in random.Random(22).sample(every, 12):
        assert not outcome_of_command(broken, place).wrong, broken.name
    assert not (place / CANARY).exists()


@pytest.mark.slow
def test_changes_on_the_command_line(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from posttrain.cli import _run
    from posttrain.plain_output import plain_message_stream
    from tests.faults.recipes import KEYS, NUMBERS, TEXTS, _known_keys

    (place / "sft.yaml").write_bytes(as_yaml(random.Random(0), MORE[-3]))
    monkeypatch.setattr(sys, "stderr", plain_message_stream(sys.stderr))
    rng = random.Random(23)
    for _ in range(150):
        keys = [
            *KEYS,
            *_known_keys(),
            "data.train[0].path",
            "data.train[9].x",
            "train..x",
            "[0]",
            "data.train[99999999999]",
            "eval.k[0]",
        ]
        value = rng.choice([*TEXTS, *map(str, NUMBERS), "[" * 50, "{a: &a [*a]}", "!!python/name:os.system x"])
        value = value.encode("utf-8", "replace").decode()  # what a shell can pass on
        change = f"{rng.choice(keys)}{rng.choice(['=', '=', '=', ':', ''])}{value}"
        assert _run(["check", "sft.yaml", "--set", change], False) in (0, 2), ascii(change)
        said = capsys.readouterr()
        assert "Traceback" not in said.err
    assert not (place / CANARY).exists()
