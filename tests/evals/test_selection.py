"""Rows out of graded completions, which the stages' own formats read back."""

from __future__ import annotations

from posttrain.data.formats import choose_format
from posttrain.data.formats.problem import problem_row, read_conversation, read_prompt
from posttrain.data.records import Problem
from posttrain.engines.sampling import Completion
from posttrain.evals.selection import feedback_rows, imitation_rows, preference_rows
from posttrain.evals.summary import Graded
from posttrain.graders.grade import Grade, failure

PROMPT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2+2?"}]
DRAWN = [
    ("5", 1, False, Grade(0.0, False)),
    ("it is 4", 9, False, Grade(1.0, True)),
    ("4", 1, False, Grade(1.0, True)),
    ("4", 1, False, Grade(1.0, True)),
    ("so long a wrong one", 8, False, Grade(0.2, False)),
    ("4 4 4 4", 40, True, Grade(1.0, True)),
    ("?", 1, False, failure("other_error", "gone")),
]
ROW = Graded(
    Problem(PROMPT, {"answer": "4"}),
    [Completion(text, tokens, cut) for text, tokens, cut, _ in DRAWN],
    [grade for *_, grade in DRAWN],
)


def test_sft_takes_the_best_then_the_shortest_each_once() -> None:
    assert [row["messages"][-1]["content"] for row in imitation_rows(ROW, 5)] == ["4", "it is 4"]
    assert imitation_rows(ROW, 1)[0]["messages"][:-1] == PROMPT


def test_dpo_pairs_by_length_each_completion_once() -> None:
    pairs = [(row["chosen"][0]["content"], row["rejected"][0]["content"]) for row in preference_rows(ROW, 3)]
    assert pairs == [("4", "5"), ("it is 4", "so long a wrong one")]


def test_kto_takes_as_many_of_each() -> None:
    labels = [(row["completion"][0]["content"], row["label"]) for row in feedback_rows(ROW, 1)]
    assert labels == [("it is 4", True), ("5", False)]


def test_the_formats_read_them() -> None:
    for stage, rows in (("sft", imitation_rows), ("dpo", preference_rows), ("kto", feedback_rows)):
        for row in rows(ROW, 2):
            choose_format(row, stage, "auto", "here").read(row, "here")


def test_a_problem_reads_back_as_itself() -> None:
    raw = {"question": "2+2?", "solution": "2+2 is 4. #### 4", "answer": "4", "topic": "sums", "system": "Be brief."}
    problem = read_prompt(raw, "here")
    row = problem_row(problem)
    assert choose_format(row, "rlvr", "auto", "here").title == "messages with answer fields"
    assert read_conversation(row, "here") == problem
