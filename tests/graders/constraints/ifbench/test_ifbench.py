"""What all constraint types of IFBench share: arguments, time, and a definition each."""

from __future__ import annotations

import gzip
import importlib.util
import json
import time
from pathlib import Path
from typing import Any

import pytest

from posttrain.errors import UserError
from posttrain.graders.constraints.ifbench import CONSTRAINTS, language
from posttrain.graders.grade import BadProblem

ARGUMENTS: dict[str, Any] = {
    "N": 3,
    "n": 2,
    "m": 2,
    "small_n": 2,
    "min_words": 3,
    "max_words": 5,
    "percentage": 30,
    "reference_text": "the cat sat on the mat",
    "prompt_to_repeat": "Write a poem.",
    "n_start": 0,
    "n_end": 4,
    "options": "yes/no",
    "sep": "-",
    "word": "cat",
    "keyword": "cat",
    **{f"keyword{place}": "cat" for place in range(1, 6)},
}


def arguments(instruction: str) -> dict[str, Any]:
    return {name: ARGUMENTS[name] for name in CONSTRAINTS[instruction].required}


def test_every_row_of_ifbench_is_known(shared_data: Path) -> None:
    with gzip.open(shared_data / "ifeval" / "ifbench_test.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    assert len(rows) == 300
    seen = set()
    for row in rows:
        for instruction, padded in zip(row["instruction_id_list"], row["kwargs"], strict=True):
            given = {name: value for name, value in padded.items() if value is not None}
            constraint = CONSTRAINTS[instruction]
            assert set(constraint.required) <= set(given) <= {*constraint.required, *constraint.optional}, instruction
            assert constraint.check("One sentence. Another one!", **given) in (True, False)
            seen.add(instruction)
    assert seen == set(CONSTRAINTS)
    assert len(seen) == 58


@pytest.mark.parametrize("instruction", CONSTRAINTS)
def test_definition_is_one_line(instruction: str) -> None:
    definition = (CONSTRAINTS[instruction].check.__doc__ or "").partition("\n")[0]
    assert definition.endswith("."), instruction


@pytest.mark.parametrize(
    "response", ["", " ", "\n\n", "\x00", "\ud800", ".", "!?", "“”", "<", "Question 1", '"', "a\rb"]
)
def test_no_response_raises(response: str) -> None:
    for instruction, constraint in CONSTRAINTS.items():
        assert constraint.check(response, **arguments(instruction)) in (True, False), instruction


def test_wrong_arguments_are_refused() -> None:
    for instruction, constraint in CONSTRAINTS.items():
        for name in constraint.required:
            for wrong in ([], {}, True, "" if isinstance(ARGUMENTS[name], str) else -1):
                with pytest.raises(BadProblem, match=name):
                    constraint.check("A cat.", **{**arguments(instruction), name: wrong})


@pytest.mark.parametrize(
    ("instruction", "wrong"),
    [
        ("count:word_count_range", {"min_words": 6}),
        ("count:numbers", {"N": 2.5}),
        ("count:numbers", {"N": float("nan")}),
        ("count:words_japanese", {"N": 0}),
        ("sentence:keyword", {"N": 0}),
        ("words:keywords_specific_position", {"m": 0}),
        ("ratio:stop_words", {"percentage": 101}),
        ("repeat:repeat_span", {"n_start": 9}),
    ],
)
def test_arguments_that_make_no_sense_are_refused(instruction: str, wrong: dict[str, Any]) -> None:
    with pytest.raises(BadProblem):
        CONSTRAINTS[instruction].check("A cat.", **{**arguments(instruction), **wrong})


def test_a_missing_module_is_named() -> None:
    with pytest.raises(UserError, match="no_such_module"):
        language.module("no_such_module")
    assert importlib.util.find_spec("nltk") is not None


@pytest.mark.parametrize(
    "response",
    [character * 100_000 for character in "aA1 \n.!?,\"'*-(<é😀"]
    + [f"Question {n} a{blank * 12_000}b" * 4 for n, blank in enumerate("\n ", 1)]
    + ['","' * 30_000, "<i></i>" * 10_000, '"\t' * 50_000, "*-\n" * 30_000],
    ids=lambda response: repr(response[:12]),
)
def test_long_responses_take_little_time(response: str) -> None:
    for instruction, constraint in CONSTRAINTS.items():
        constraint.check("Warm up.", **arguments(instruction))
        start = time.process_time()
        constraint.check(response, **arguments(instruction))
        assert time.process_time() - start < 1, instruction
