from __future__ import annotations

import gzip
import json
import time
from pathlib import Path

import pytest

from posttrain.graders import BadProblem, build
from posttrain.graders.choice import ChoiceSettings, final_letter

GRADER = build(ChoiceSettings(type="choice"), Path())
CHOICES = ["London", "Paris", "Rome", "A village"]
PARIS = {"answer": "B", "choices": CHOICES}


@pytest.mark.parametrize(
    "completion",
    [
        "B",
        "b",
        "(B)",
        "B.",
        "**B**",
        "B. Paris",
        "Answer: B",
        "answer: b",
        "**Answer:** (B) Paris",
        "Answer: Paris",
        "The answer is B, I am sure.",
        "The correct answer is (B).",
        "\\boxed{B}",
        "$\\boxed{\\textbf{(B)}}$",
        "A is in England and C in Italy.\n\nB",
        "A capital in France: that is B",
        "I think B",
        "<think>A? C? D?</think>B",
    ],
)
def test_right(completion: str) -> None:
    assert GRADER.grade(completion, PARIS).answer == "B"


@pytest.mark.parametrize("letter", "ABCD")
@pytest.mark.parametrize(
    "completion",
    [
        "A B C D",
        "A\nB\nC\nD",
        "ABCD",
        "(A) (B) (C) (D)",
        "A. London\nB. Paris\nC. Rome\nD. A village",
        "(A) London (B) Paris (C) Rome (D) A village",
        "Answer: A, B, C, D",
        "Answer: A/B/C/D",
        "Answer: A or B or C or D",
        "Answer: (A) London (B) Paris (C) Rome (D) A village",
        "Answer: A\nAnswer: B\nAnswer: C\nAnswer: D",
        "The answer is A. The answer is B. The answer is C. The answer is D.",
        "\\boxed{A}\\boxed{B}\\boxed{C}\\boxed{D}",
        "<think>B</think>",
        "<think>B",
        "I do not know",
        "",
    ],
)
def test_naming_every_option_or_none_scores_nothing(completion: str, letter: str) -> None:
    grade = GRADER.grade(completion, {"answer": letter, "choices": CHOICES})
    assert (grade.score, grade.answer) == (0.0, None)


@pytest.mark.parametrize(
    ("answer", "choices", "letter"),
    [
        ("C", None, "C"),
        ("(c)", None, "C"),
        (2, CHOICES, "C"),
        ("2", CHOICES, "C"),
        ("rome", CHOICES, "C"),
        ("c", ["2c", "3c", "4c"], "C"),
    ],
)
def test_gold(answer: object, choices: object, letter: str) -> None:
    problem = {"answer": answer, "choices": choices}
    assert GRADER.gold(problem) == f"Answer: {letter}"
    assert GRADER.grade(GRADER.gold(problem) or "", problem).passed


@pytest.mark.parametrize(
    ("answer", "choices"),
    [
        (2, None),
        (4, CHOICES),
        ("E", CHOICES),
        ("Berlin", CHOICES),
        (True, CHOICES),
        ("1", ["1", "2"]),
        ("B", ["x", "y", "b"]),
    ],
)
def test_a_gold_that_names_no_option_or_two_is_refused(answer: object, choices: object) -> None:
    with pytest.raises(BadProblem):
        GRADER.gold({"answer": answer, "choices": choices})


def test_answer_is_settles_what_the_gold_means() -> None:
    problem = {"answer": "1", "choices": ["1", "2"]}
    for answer_is, letter in (("index", "B"), ("text", "A")):
        grader = build(ChoiceSettings(type="choice", answer_is=answer_is), Path())
        assert grader.gold(problem) == f"Answer: {letter}"


@pytest.mark.parametrize(
    "completion",
    ["A " * 50_000, "Answer: A " * 10_000, "\\boxed{" + "(" * 100_000 + "}", "-" * 100_000, "(A)" * 30_000],
)
def test_hostile_text_takes_little_time(completion: str) -> None:
    start = time.monotonic()
    GRADER.grade(completion, PARIS)
    assert time.monotonic() - start < 3


def test_every_mmlu_gold_passes(shared_data: Path) -> None:
    grader = build(ChoiceSettings(type="choice", answer_is="index"), Path())
    with gzip.open(shared_data / "mc/mmlu_test.jsonl.gz", "rt") as file:
        rows = [json.loads(line) for line in file]
    assert len(rows) == 14_042
    for row in rows:
        letter = "ABCD"[int(row["answer"])]
        assert grader.gold(row) == f"Answer: {letter}"
        assert grader.grade(f"Answer: {letter}", row).passed
        assert grader.grade(f"({letter}) {row['choices'][int(row['answer'])]}", row).answer in (letter, None)


def test_a_or_b_names_both() -> None:
    for text in ("A or B", "It is A or B.", "Answer: A and B"):
        assert final_letter(text) == (None, "conflicting answers"), text
    assert final_letter("A dog barks at B") == ("B", "")


@pytest.mark.parametrize(
    "text",
    ["Answer: A\nWait. Answer: B", "Answer: A, Answer: B, Answer: C", "Answer: A or Answer: B", "Answer: A; Answer: B"],
)
def test_hedging_on_one_line_does_not_pay(text: str) -> None:
    for answer in "AB":
        grade = GRADER.grade(text, {"answer": answer})
        assert (grade.passed, grade.note) == (False, "conflicting answers")
