"""Which grader is found for the answers of problems."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from posttrain.advice.facts import look_at_source
from posttrain.advice.grading import Trial, try_graders
from posttrain.data.records import Problem
from posttrain.recipe.schema import Source


def tried(*answers: Any, **fields: Any) -> Trial | None:
    message = [{"role": "user", "content": "?"}]
    return try_graders([Problem(message, {"answer": answer, **fields}, place="p") for answer in answers])


@pytest.mark.parametrize(
    ("answers", "grader"),
    [
        (("12", "3/4", "so it is\n#### 7"), "number"),
        (("A", "C", "(B)"), "choice"),
        (("\\frac{\\pi}{2}", "(3, \\pi)", "x^2+1"), "math"),
        (('{"total": 3}', '{"total": 4}'), "json"),
        (("refund", "card lost"), "string_check"),
    ],
)
def test_the_most_specific_grader_is_taken(answers: tuple[str, ...], grader: str) -> None:
    trial = tried(*answers)
    assert trial is not None and trial.fits
    assert (trial.options["type"], trial.passed, trial.tried) == (grader, len(answers), len(answers))


def test_choices_that_can_be_read_in_two_ways_are_read_in_the_one_that_passes() -> None:
    trial = tried("1", "0", choices=["1", "0", "2"])
    assert trial is not None and trial.share == 1
    assert trial.options == {"type": "choice", "answer_is": "index"}


def test_long_answers_have_no_grader_that_fits() -> None:
    trial = tried("a long story " * 10, "another one " * 10)
    assert trial is not None and not trial.fits and "p: " in trial.complaint
    assert tried(None) is None


@pytest.mark.parametrize(
    ("file", "grader"),
    [
        ("math/gsm8k_train.jsonl.gz", "number"),
        ("math/math500.jsonl.gz", "math"),
        ("mc/mmlu_dev.jsonl.gz", "choice"),
        ("sft/banking77_test.csv.gz", "string_check"),
        ("ifeval/ifeval_input.jsonl.gz", "instruction"),
        ("code/humaneval.jsonl.gz", "code"),
    ],
)
def test_real_data_gets_its_grader(shared_data: Path, file: str, grader: str) -> None:
    facts = look_at_source(Source(path=str(shared_data / file)), held_out=False)
    trial = try_graders([record for record in facts.fits["rlvr"].sample if isinstance(record, Problem)])
    assert trial is not None and trial.fits and trial.options["type"] == grader
