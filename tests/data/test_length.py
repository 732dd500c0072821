"""Long rows: which tokens are kept, and parts of a conversation that train each trained token once."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from posttrain.data.length import cut, split_parts, trains
from posttrain.data.masks import IGNORED
from posttrain.data.records import Chat, Feedback, Preference
from posttrain.data.tokenize import tokenize_chats, tokenize_feedback, tokenize_preferences


def labels(marks: str) -> list[int]:
    """`T` is a trained token, `.` one that is not."""
    return [1 if mark == "T" else IGNORED for mark in marks]


# By hand: marks, max_length, the parts.
SPLITS = [
    ("..TT..TT", 4, [(0, 4), (4, 8)]),  # at turn borders
    ("..TT..TT", 7, [(0, 4), (4, 8)]),  # the second answer does not fit whole
    ("..TT..TT", 8, [(0, 8)]),
    (".T.T.T.T", 5, [(0, 4), (4, 8)]),  # two turns a part
    ("..TT....", 4, [(0, 4)]),  # nothing trained at the end
    ("..........TT", 4, [(8, 12)]),  # the answer with as much as fits of what is before it
    (".......TTT", 4, [(5, 9), (8, 10)]),  # half is left for what is before; the last token is the next one's context
    (".TTTTTTTT", 4, [(0, 4), (3, 7), (6, 9)]),
    ("TTTT", 1, []),  # one token follows on nothing
    ("....", 2, []),
]


@pytest.mark.parametrize(("marks", "max_length", "parts"), SPLITS)
def test_a_row_is_split_as_by_hand(marks: str, max_length: int, parts: list[tuple[int, int]]) -> None:
    assert [(part.start, part.stop) for part in split_parts(labels(marks), max_length)] == parts


def test_parts_train_each_trained_token_once_and_keep_short_answers_whole() -> None:
    rng = random.Random(0)
    for _ in range(500):
        max_length = rng.randint(2, 20)
        turns = [("." * rng.randint(1, 25), "T" * rng.randint(1, 25)) for _ in range(rng.randint(1, 8))]
        marks = "".join(context + answer for context, answer in turns)
        ids = list(range(len(marks)))
        rows = cut(ids, labels(marks), max_length, "split")
        assert all(trains(row) and len(row) <= max_length for _, row in rows)
        trained = [token for row, marked in rows for token, mark in zip(row, marked, strict=True) if mark != IGNORED]
        assert trained == [at for at in ids if marks[at] == "T"]
        at = 0
        for context, answer in turns:
            start, end = at + len(context), at + len(context) + len(answer)
            if len(answer) <= max_length // 2:  # whole, and after something
                assert any(row[0] < start and end - 1 <= row[-1] for row, _ in rows)
            at = end


def test_the_first_token_alone_trains_nothing() -> None:
    assert not trains(labels("T..."))
    assert trains(labels(".T"))


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


SHORT = [user("hi"), assistant("yes")]
LONG = [user("hi"), assistant("word " * 30), user("more"), assistant("other " * 30)]
LONG_PROMPT = [user("hello " * 60), assistant("yes")]
CHATS = [Chat(SHORT), Chat(LONG), Chat(LONG_PROMPT), Chat([*SHORT, user("hello " * 60)])]


@pytest.mark.parametrize(
    ("too_long", "rows", "summary"),
    [
        ("keep_start", 3, "kept 3 of 4: 2 truncated, 1 had no trained token"),
        ("keep_end", 3, "kept 3 of 4: 2 truncated, 1 had no trained token"),
        ("drop", 1, "kept 1 of 4: 3 longer than max_length"),
        ("split", 12, "kept 4 of 4: 2 truncated, 1 split into 9"),
    ],
)
def test_what_becomes_of_long_chats_is_counted(
    family: Callable[[str], Any], too_long: Any, rows: int, summary: str
) -> None:
    tokenizer = family("gemma3")
    done = tokenize_chats(CHATS, tokenizer, max_length=40, too_long=too_long)
    assert done.summary == summary
    assert len(done.rows) == rows
    whole = tokenize_chats(CHATS, tokenizer, max_length=None).rows
    assert done.rows[0] == whole[0]
    assert all(len(row["labels"]) == len(row["input_ids"]) <= 40 and trains(row["labels"]) for row in done.rows)
    if too_long == "keep_end":
        ends = [{name: row[name][-40:] for name in ("input_ids", "labels")} for row in whole[1:3]]
        assert [{name: row[name] for name in ("input_ids", "labels")} for row in done.rows[1:]] == ends
    if too_long == "split":
        parts, wholes = ([x for row in rows for x in row["labels"] if x != IGNORED] for rows in (done.rows, whole))
        assert parts == wholes
        assert [row["index"] for row in done.rows] == [0] + [1] * 9 + [2, 3]


PAIRS = [
    Preference([user("hi")], [assistant("yes")], [assistant("no")]),
    Preference([user("hi")], [assistant("word " * 40)], [assistant("no")]),
    Preference([user("hello " * 60)], [assistant("yes")], [assistant("no")]),
    Preference([user("hi")], [assistant("a" + " word" * 40)], [assistant("b" + " word" * 40)]),
    Preference([user("hi")], [assistant("word" * 40 + " a")], [assistant("word" * 40 + " b")]),
    Preference([user("hi")], [assistant("yes")], [assistant(" yes ")]),  # a template that strips
]
SAME = "1 had two answers that the template writes the same"


@pytest.mark.parametrize(
    ("too_long", "summary"),
    [
        (
            "keep_start",
            f"kept 3 of 6: 2 truncated, 1 had a prompt that fills max_length, 1 differed only after max_length, {SAME}",
        ),
        ("keep_end", f"kept 4 of 6: 3 truncated, 1 differed only before the last max_length tokens, {SAME}"),
        ("drop", f"kept 1 of 6: 4 longer than max_length, {SAME}"),
    ],
)
def test_what_becomes_of_long_pairs_is_counted(family: Callable[[str], Any], too_long: Any, summary: str) -> None:
    done = tokenize_preferences(PAIRS, family("gemma3"), max_length=40, too_long=too_long)
    assert done.summary == summary


THUMBS = [Feedback(pair.prompt, pair.chosen, True) for pair in PAIRS[:3]]


@pytest.mark.parametrize(
    ("too_long", "summary"),
    [
        ("keep_start", "kept 2 of 3: 1 truncated, 1 had a prompt that fills max_length"),
        ("keep_end", "kept 3 of 3: 2 truncated"),
        ("drop", "kept 1 of 3: 2 longer than max_length"),
    ],
)
def test_what_becomes_of_long_feedback_is_counted(family: Callable[[str], Any], too_long: Any, summary: str) -> None:
    tokenizer = family("gemma3")
    done = tokenize_feedback(THUMBS, tokenizer, max_length=40, too_long=too_long)
    assert done.summary == summary
    if too_long == "keep_end":
        whole = tokenize_feedback(THUMBS, tokenizer, max_length=None).rows
        assert done.rows[0] == whole[0]
        for cut_row, row in zip(done.rows, whole, strict=True):
            assert (
                cut_row["prompt_ids"] + cut_row["completion_ids"] == (row["prompt_ids"] + row["completion_ids"])[-40:]
            )
            assert cut_row["completion_ids"] == row["completion_ids"][-40:]
