from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from posttrain.graders.judge_reply import read_label, read_score

SCORES: list[tuple[str, tuple[float, float], float | None]] = [
    # JSON
    ('{"score": 0.5}', (0, 1), 0.5),
    ('```json\n{"score": 4, "reasoning": "Score: 2 of 7"}\n```', (0, 5), 4),
    ('{"score": "4"}', (0, 5), 4),
    ('{"score": true}', (0, 1), None),
    ('{"score": NaN}', (0, 1), None),
    ('{"score": 1e999}', (0, 1), None),
    ('{"score": ' + "9" * 5000 + "}", (0, 1), None),
    ('{"score": null}', (0, 1), None),
    ('Here it is: {"score": 0.25}', (0, 1), 0.25),
    ("[" * 10_000, (0, 1), None),
    # a bare number
    ("0.5", (0, 1), 0.5),
    (" 1.\n", (0, 1), 1),
    ("**0.75**", (0, 1), 0.75),
    (".5", (0, 1), 0.5),
    ("The items agree.\n\n0.75", (0, 1), 0.75),
    ("<think>Score: 1</think>0.25", (0, 1), 0.25),
    ("<think>Score: 1", (0, 1), None),
    # marked, as countdown's prompt asks
    ("Score: 4\nReasoning: 25 * 3 = 75, off by 1", (0, 5), 4),
    ("Score: <4>\nReasoning: off by 1.", (0, 5), 4),
    ("**Score:** 3.5\n\n**Reasoning:** 2 of 6 numbers", (0, 5), 3.5),
    ("The score is 0.5.", (0, 1), 0.5),
    ("The score is based on three rules.\nScore: 0.5", (0, 1), 0.5),
    ("I give it a rating of 2.", (0, 5), 2),
    ("Item 1 score: 0.5\nItem 2 score: 1.0\nFinal score: 0.75", (0, 1), 0.75),
    ("Item 1 score: 0.5\nItem 2 score: 1.0", (0, 1), None),
    ("Score: 4\nScore: 4", (0, 5), 4),
    ("Output format: Score: <0 - 5>\nScore: 4", (0, 5), 4),
    ("Score: 0-5", (0, 5), None),
    ("Score: 4 or 5", (0, 5), None),
    ("Score: N/A", (0, 5), None),
    ("Score:\n\n**4**\n\nIt is right.", (0, 5), 4),
    ("Rating:\n1. Poor\n2. Fair", (0, 5), None),
    ("Score: 4,5", (0, 5), None),
    ("Score: 1.0.2", (0, 5), None),
    ("Score: 4th", (0, 5), None),
    # scales
    ("7/10", (0, 10), 7),
    ("7/10", (0, 1), None),
    ("7/10", (0, 7), None),
    ("Score: 4 (out of 5)", (0, 5), 4),
    ("Score: 4 out of 10", (0, 5), None),
    ("80%", (0, 100), 80),
    ("80%", (0, 1), None),
    # out of range: an error, never a clamp
    ("1.2", (0, 1), None),
    ("Score: -1", (0, 1), None),
    ("Score: -1", (-1, 1), -1),
    # no verdict in prose
    ("correct", (0, 1), None),
    ("incorrect", (0, 1), None),
    ("The answer meets 1 of the criteria.", (0, 5), None),
    ("Step 1: the answer is right. 2 + 3 = 5", (0, 5), None),
    ("I'm sorry, but I can't help with that.", (0, 1), None),
    ("", (0, 1), None),
    ("Score: 1" + " " * 30_000, (0, 1), None),
]


@pytest.mark.parametrize(("reply", "range", "score"), SCORES)
def test_score(reply: str, range: tuple[float, float], score: float | None) -> None:
    found = read_score(reply, *range)
    assert (found == score) if score is not None else isinstance(found, str), found


def test_it_is_said_why_there_is_no_score() -> None:
    assert read_score("7", 0, 5) == "the score 7 is not from 0 to 5"
    assert read_score("good", 0, 5) == "no score in it"
    assert read_score("Score: 1, then Score: 2", 0, 5) == "more than one score in it"


LABELS: list[tuple[str, list[str], str | None]] = [
    ('{"label": "correct"}', ["correct", "incorrect"], "correct"),
    ('{"label": "right"}', ["correct", "incorrect"], None),
    ('{"label": 1}', ["1", "2"], None),
    ("incorrect", ["correct", "incorrect"], "incorrect"),
    ("**Incorrect.**", ["correct", "incorrect"], "incorrect"),
    ("The answer is incorrect.", ["correct", "incorrect"], "incorrect"),
    ("The answer is not correct.", ["correct", "incorrect"], None),
    ("It is correct, not incorrect", ["correct", "incorrect"], None),
    ("Label: positive\nReason: it sounds negative at first", ["positive", "negative"], "positive"),
    ("Label: positive\nLabel: negative", ["positive", "negative"], None),
    ("Label: positive\nFinal label: negative", ["positive", "negative"], "negative"),
    ("Classification:\n\nneutral", ["positive", "neutral"], "neutral"),
    ("It praises the food.\n\npositive", ["positive", "negative"], "positive"),
    ("<think>negative</think>positive", ["positive", "negative"], "positive"),
    ("good", ["good", "Good"], "good"),
    ("GOOD", ["good", "Good"], None),
    ("(a)", ["A", "B"], "A"),
    ("", ["A", "B"], None),
]


@pytest.mark.parametrize(("reply", "labels", "label"), LABELS)
def test_label(reply: str, labels: list[str], label: str | None) -> None:
    assert read_label(reply, labels) == label


def test_real_texts_that_are_no_verdicts_give_none(shared_data: Path) -> None:
    with gzip.open(shared_data / "dpo" / "llmbar.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    with gzip.open(shared_data / "dpo" / "pandalm_testset.jsonl.gz", "rt", encoding="utf-8") as file:
        pandalm = [json.loads(line) for line in file]
    texts = [str(row[key]) for row in rows for key in ("output_1", "output_2")]
    texts += [str(row[key]) for row in pandalm for key in ("response1", "response2")]
    assert len(texts) == 2836
    assert [text for text in texts if isinstance(read_score(text, 0, 1), float)] == []
    # Those that are a number, or the answer to "give it a score".
    scored = [text for text in texts if isinstance(read_score(text, 0, 10), float)]
    assert len(scored) == 7 and all(len(text) < 60 for text in scored)
    labelled = [text for text in texts if read_label(text, ["correct", "incorrect"])]
    assert labelled == ["Correct."]
