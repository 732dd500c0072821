from __future__ import annotations

import gzip
import json
import time
from pathlib import Path

import pytest

from posttrain.graders import BadProblem, build
from posttrain.graders.number import NumberSettings

GRADER = build(NumberSettings(type="number"), Path())


@pytest.mark.parametrize(
    ("completion", "gold", "passed"),
    [
        ("18", 18, True),
        ("So she makes $18 every day.", "18", True),
        ("#### 72", "Natalia sold 48/2 = <<48/2=24>>24.\n#### 72", True),
        ("A: 2125", "work\nA: 2,125", True),
        ("9 * 2 = <<9*2=18>>18\nA: 18", 18, True),
        ("The answer is 18, because 16 - 3 = 13.", 18, True),
        ("The answer is 18, because 16 - 3 = 13.", 13, False),
        ("The final answer is: $\\boxed{5}$.", 5, True),
        ("**Answer:** 18 eggs", 18, True),
        ("**Final Answer**\n\n18", 18, True),
        ("The answer to the question is\n\n\\[\n18\n\\]", 18, True),
        ("A: 9 * 2 = $18", 18, True),
        ("The final answer is 15 gallons * 8 pints / gallon = 120 pints", 120, True),
        ("Answer: x = 18", 18, True),
        ("Answer: 1,000,000.", "1000000", True),
        ("\\boxed{\\$1{,}234}", "1234", True),
        ("18.0", "18", True),
        ("\\boxed{\\frac{3}{4}}", "3/4", True),
        ("0.75", "3/4", True),
        ("Answer: 2 3/4 cups", "11/4", True),
        ("Answer: 1e3", 1000, True),
        ("Answer: 50%", 50, True),
        ("Answer: .5", 0.5, True),
        ("x = \u22125", "-5", True),
        ("Answer: -$5", -5, True),
        ("16-3", 3, True),
        ("0.1", 0.1, True),
        ("Answer: 1/3", "0.3333", False),
        # several answers, lists and expressions are not one number
        ("The answer is 5. The answer is 6.", 6, False),
        ("\\boxed{3}. The final answer is 5", 5, False),
        ("Answer: 17, 18, 19", 18, False),
        ("Answer: 17 or 18", 17, False),
        ("\\boxed{10^6}", 10, False),
        ("Answer: 10-5", 5, False),
        ("Answer: 2*2", 2, False),
        ("Answer: 5\u20137", 7, False),
        # headings and units are no markers
        ("#### Step 1: 5 eggs\nso 18", 18, True),
        ("#### 1. Add 5\nso 18", 18, True),
        ("24 correct answers * 2 points/answer = 48\n#### 66", 66, True),
        # thinking is not an answer
        ("<think>17</think>18", 18, True),
        ("<think>the answer is 18</think>", 18, False),
        ("<think>the answer is 18", 18, False),
        ("I do not know", 18, False),
        ("", 18, False),
    ],
)
def test_final_number(completion: str, gold: object, passed: bool) -> None:
    grade = GRADER.grade(completion, {"answer": gold})
    assert (grade.passed, grade.score, grade.error) == (passed, float(passed), "")


def test_answer_is_normal_and_the_note_says_why() -> None:
    assert GRADER.grade("Answer: 1,500.0", {"answer": 1500}).answer == "1500"
    assert GRADER.grade("so 5", {"answer": 6}).note == "answer 5, expected 6"
    assert GRADER.grade("Answer: 5\nAnswer: 6", {"answer": 6}).note == "conflicting answers"


def test_tolerance_is_absolute_and_exact() -> None:
    grader = build(NumberSettings(type="number", tolerance=0.1), Path())
    assert grader.grade("0.4", {"answer": 0.3}).passed
    assert not grader.grade("0.401", {"answer": 0.3}).passed


@pytest.mark.parametrize("gold", ["abc", "72 clips", "", True, "1/0", float("nan"), "1e999999999", "9" * 5000])
def test_bad_gold_is_refused(gold: object) -> None:
    with pytest.raises(BadProblem):
        GRADER.gold({"answer": gold})
    with pytest.raises(BadProblem):
        GRADER.grade("5", {"answer": gold})


def test_missing_field_is_refused_with_the_fields_there_are() -> None:
    with pytest.raises(BadProblem, match=r"no field 'answer' .*anwser.*Did you mean 'anwser'"):
        GRADER.grade("5", {"question": "?", "anwser": 5})


@pytest.mark.parametrize(
    "completion",
    [
        "9" * 100_000,
        "Answer: 1e999999999",
        "1,111" + ",111" * 30_000 + "1",
        "1 " * 50_000,
        "1/" * 50_000,
        "answer is " * 10_000,
        "answer to " * 10_000,
        "\\boxed{" * 15_000 + "}" * 15_000,
        "\\boxed{" * 15_000,
        "\\boxed{" + "(" * 100_000 + "}",
        "\\frac{1}{" * 10_000,
        "<<1" * 30_000,
        "#### " * 20_000,
        "\n" * 100_000,
        "\0" * 100_000,
        "-$" * 50_000,
        "Answer: 1" + "*1" * 50_000,
        "\ud800" * 1000,
    ],
    ids=lambda text: repr(text[:12]),
)
def test_hostile_text_takes_little_time(completion: str) -> None:
    start = time.monotonic()
    assert not GRADER.grade(completion, {"answer": 5}).passed
    assert time.monotonic() - start < 3


def test_agrees_with_every_verdict_on_gsm8k_solutions(shared_data: Path) -> None:
    verdicts = 0
    with gzip.open(shared_data / "math/gsm8k_model_solutions.jsonl.gz", "rt") as file:
        for row in map(json.loads, file):
            problem = {"answer": row["ground_truth"]}
            assert GRADER.grade(GRADER.gold(problem) or "", problem).passed
            for solution in (value for value in row.values() if isinstance(value, dict)):
                assert GRADER.grade(solution["solution"], problem).passed == solution["is_correct"]
                verdicts += 1
    assert verdicts == 5276


@pytest.mark.parametrize("name", ["gsm8k_train", "gsm8k_test"])
def test_every_gsm8k_reference_passes(shared_data: Path, name: str) -> None:
    with gzip.open(shared_data / f"math/{name}.jsonl.gz", "rt") as file:
        for row in map(json.loads, file):
            assert GRADER.grade(row["answer"], row).passed


@pytest.mark.parametrize(
    "text", ["Answer: 1, Answer: 2", "Answer: 1. Answer: 2", "Answer: 1\nWait. Answer: 2", "Answer: 1\nAnswer: 2"]
)
def test_hedging_on_one_line_does_not_pay(text: str) -> None:
    grade = GRADER.grade(text, {"answer": 1})
    assert (grade.passed, grade.note) == (False, "conflicting answers")
