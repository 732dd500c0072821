from __future__ import annotations

import gzip
import importlib.util
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from posttrain.errors import UserError
from posttrain.graders import BadProblem, Grader, build, check_problem
from posttrain.graders.constraints.ifeval import CONSTRAINTS
from posttrain.graders.instruction import InstructionSettings, loosened

PROBLEM = {
    "prompt": "Name two colours in one word each, without a comma, and mention the sky.",
    "instruction_id_list": ["punctuation:no_comma", "keywords:existence", "length_constraints:number_words"],
    "kwargs": [{}, {"keywords": ["sky"], "N": None}, {"num_words": 3, "relation": "at least"}],
}


def grader(**options: Any) -> Grader:
    return build(InstructionSettings(type="instruction", **options), Path())


def one(constraint_id: str, **kwargs: Any) -> dict[str, Any]:
    return {"instruction_id_list": [constraint_id], "kwargs": [kwargs]}


@pytest.mark.parametrize(
    ("completion", "parts", "note"),
    [
        ("Blue sky and red", (True, True, True), ""),
        ("Blue, red sky", (False, True, True), "not followed: punctuation:no_comma"),
        ("Blue, red", (False, False, False), None),
        ("", (False, False, False), None),
        (" \n", (False, False, False), None),
        ("<think>Sky, they say.</think>Blue sky and red", (True, True, True), ""),
        ("<think>Blue sky and red", (False, False, False), "thinking never ended"),
    ],
)
def test_every_constraint_has_its_part(completion: str, parts: tuple[bool, ...], note: str | None) -> None:
    grade = grader().grade(completion, PROBLEM)
    assert tuple(part.passed for part in grade.parts) == parts
    assert [part.name for part in grade.parts] == PROBLEM["instruction_id_list"]
    assert (grade.passed, grade.score) == (all(parts), float(all(parts)))
    assert note is None or grade.note == note
    share = grader(score="fraction").grade(completion, PROBLEM)
    assert (share.passed, share.score) == (all(parts), pytest.approx(sum(parts) / 3))


def test_a_part_that_failed_says_what_was_asked() -> None:
    grade = grader().grade("Blue, red", PROBLEM)
    assert [part.note for part in grade.parts] == ["not followed", "keywords ['sky']", "num_words 3, relation at least"]


def test_the_eight_variants_of_loose() -> None:
    assert list(loosened("*a*\nb\n*c*")) == [
        *("*a*\nb\n*c*", "a\nb\nc"),
        *("b\n*c*", "b\nc"),
        *("*a*\nb", "a\nb"),
        *("b", "b"),
    ]


@pytest.mark.parametrize(
    ("problem", "completion"),
    [
        (one("startend:quotation"), 'Sure, here it is:\n"Hello."'),  # without the first line
        (one("startend:quotation"), '"Hello."\nI hope that helps!'),  # without the last
        (one("startend:quotation"), 'Sure:\n"Hello."\nI hope that helps!'),  # without both
        (one("startend:end_checker", end_phrase="The end."), "So it is. **The end.**"),  # without asterisks
        (one("punctuation:no_comma"), "Sure, here:\nHello."),
    ],
)
def test_loose_forgives_what_strict_does_not(problem: dict[str, Any], completion: str) -> None:
    assert not grader(mode="strict").grade(completion, problem).passed
    assert grader(mode="loose").grade(completion, problem).passed


def test_loose_does_not_pass_a_variant_of_nothing() -> None:
    """The one line of this response has a comma, and what is left without it is blank."""
    assert not grader(mode="loose").grade("Yes, one line", one("punctuation:no_comma")).passed


def test_each_constraint_may_need_another_variant() -> None:
    ids, kwargs = ["startend:quotation", "keywords:existence"], [{}, {"keywords": ["sure"]}]
    grade = grader(mode="loose").grade('Sure:\n"Hello."', {"instruction_id_list": ids, "kwargs": kwargs})
    assert grade.passed


@pytest.mark.parametrize("blank", ["\n\n", "\n", " "])
def test_white_space_after_thinking_is_none_of_the_response(blank: str) -> None:
    first = one("length_constraints:nth_paragraph_first_word", num_paragraphs=2, nth_paragraph=1, first_word="one")
    assert grader().grade(f"<think>Hm.</think>{blank}One.\n\nTwo.", first).passed
    assert not grader().grade("\n\nOne.\n\nTwo.", first).passed  # as IFEval's checker has it


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        ({"kwargs": [{}]}, "no field 'instruction_id_list'"),
        ({"instruction_id_list": ["punctuation:no_comma"]}, "no field 'kwargs'"),
        (one("punctuation:no_coma"), "Did you mean 'punctuation:no_comma'"),
        (one("keywords:existence"), "keywords:existence needs 'keywords'"),
        (one("punctuation:no_comma", keyword="x"), "punctuation:no_comma has no 'keyword'"),
        (PROBLEM | {"kwargs": [{}]}, "3 and 1"),
    ],
)
def test_a_bad_problem_is_refused(problem: dict[str, Any], message: str) -> None:
    with pytest.raises(BadProblem, match=message):
        check_problem([grader()], problem)
    for completion in ("Hello", "", "<think>"):
        with pytest.raises(BadProblem, match=message):
            grader().grade(completion, problem)


@pytest.mark.parametrize("package", ["langdetect", "nltk", "punkt"])
def test_a_missing_package_is_said_at_once(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else there(name))
    with pytest.raises(UserError, match=rf"(?s){package}.*pip install 'posttrain\[instructions\]'"):
        grader()


@pytest.fixture(scope="module")
def ifeval(shared_data: Path) -> list[dict[str, Any]]:
    with gzip.open(shared_data / "ifeval" / "ifeval_input.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def test_all_of_ifeval_can_be_graded(ifeval: list[dict[str, Any]]) -> None:
    for row in ifeval:
        check_problem([grader()], row)
    ids = Counter(name for row in ifeval for name in row["instruction_id_list"])
    assert (len(ifeval), ids.total(), ids.keys()) == (541, 834, CONSTRAINTS.keys())


@pytest.mark.parametrize(
    ("mode", "response", "prompts", "constraints"),
    [
        ("strict", "*Note:*\n{prompt}\nDone!", 118, 272),
        ("loose", "*Note:*\n{prompt}\nDone!", 150, 329),
        ("strict", "{prompt}", 134, 300),
        ("loose", "{prompt}", 161, 342),
    ],
)
def test_ifeval_counts_as_its_published_checker_does(
    mode: str, response: str, prompts: int, constraints: int, ifeval: list[dict[str, Any]]
) -> None:
    """On responses that repeat the prompt; the counts are those of three published copies of the checker, run on the
    same texts. The two prompts for which the checker draws a random letter are left out."""
    rows = [row for row in ifeval if row["key"] not in (1122, 1129)]
    grades = [grader(mode=mode).grade(response.format(prompt=row["prompt"]), row) for row in rows]
    assert sum(grade.passed for grade in grades) == prompts
    assert sum(part.passed for grade in grades for part in grade.parts) == constraints
