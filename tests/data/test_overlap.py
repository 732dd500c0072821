"""Overlap of held-out and training rows: worked by hand, against a slow count, and on real sets."""

from __future__ import annotations

import gzip
import json
import random
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from posttrain.data.ngrams import ngrams, numbers, spans, words
from posttrain.data.overlap import Match, Overlap, find_overlap, marked, overlap_notes, turns_of
from posttrain.data.records import Chat, Feedback, Preference, Problem

ALPHABET = list("abcdefghijklmnopqrst")


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def test_words() -> None:
    assert words("Is it 3.5?\n YES_no") == ["is", "it", "3", ".", "5", "?", "yes_no"]
    assert words("東京は big") == ["東", "京", "は", "big"]
    text = "İt İs x"  # whose lower case has more letters
    assert [text[start:end] for start, end in spans(text)] == ["İt", "İs", "x"]
    assert len(words(text)) == 3


def test_ngrams_are_equal_where_their_words_are() -> None:
    found = ngrams(numbers(list("ababac")), 2)
    assert len(found) == 5
    assert found[0] == found[2] and found[1] == found[3]
    assert len(np.unique(found)) == 3  # a b, b a, a c
    assert len(ngrams(numbers(["a"]), 2)) == 0


def test_the_share_by_hand() -> None:
    held_out = " ".join(ALPHABET)  # 20 words
    nine = " ".join(ALPHABET[:9])  # two 8-grams, which cover 9 of 20 words
    ten = "x " + " ".join(ALPHABET[5:15]) + " y"  # three, which cover 10: half, and not more
    apart = " ".join(ALPHABET[:8]) + " x " + " ".join(ALPHABET[11:19])  # 8 and 8 of 20
    for text, share in ((nine, None), (ten, None), (apart, 0.8), (held_out.upper(), 1.0)):
        found = find_overlap([[text]], [[held_out]])
        assert found.trained == ({0: Match(0, share)} if share else {})
        assert found.held_out == found.trained
        assert found.looked_at == 1
    assert find_overlap([[ten]], [[held_out]], threshold=0.49).held_out == {0: Match(0, 0.5)}
    assert find_overlap([["a b c"]], [["a b c d"]], ngram=3).held_out == {0: Match(0, 0.75)}


def test_the_single_best_training_row_counts() -> None:
    held_out = " ".join(ALPHABET)
    halves = [[" ".join(ALPHABET[:10])], [" ".join(ALPHABET[10:])]]
    assert find_overlap(halves, [[held_out]]).held_out == {}
    found = find_overlap([*halves, [" ".join(ALPHABET[:15])], [held_out], [held_out]], [["unlike"], [held_out]])
    assert found.held_out == {1: Match(3, 1.0)}  # the first of the best
    assert found.trained == {2: Match(1, 0.75), 3: Match(1, 1.0), 4: Match(1, 1.0)}


def test_short_rows_by_their_words() -> None:
    held_out = [["Tell me a joke!"], [""], ["Hi"]]
    found = find_overlap(
        [["tell me a joke"], ["Well.", "Tell me  a JOKE !"], ["tell me a joke! please"], [""]], held_out
    )
    assert found.held_out == {0: Match(1, 1.0)}
    assert find_overlap([["Hi"], ["hi", "there"]], held_out).trained == {0: Match(2, 1.0), 1: Match(2, 1.0)}


def test_other_numbers_are_another_problem() -> None:
    ours, theirs = "Tom has 5 apples and eats 2 of them . How many are left ?", "Tom has 5 apples and eats 5 of them ."
    theirs += " How many are left ?"
    assert find_overlap([[theirs]], [[ours]], ngram=5).held_out == {0: Match(0, 14 / 15)}
    assert find_overlap([[theirs]], [[ours]], ngram=5, same_numbers=True).held_out == {}
    longer = "Think: 1, 2! " + ours
    assert find_overlap([[longer]], [[ours]], same_numbers=True).held_out == {0: Match(0, 1.0)}


def slow_overlap(train: Sequence[str], held_out: Sequence[str], ngram: int, threshold: float, same: bool) -> Overlap:
    """The same by its definition: every pair, every n-gram, words marked one by one."""
    found = Overlap(looked_at=len(train))
    for number, text in enumerate(train):
        best: list[tuple[int, float]] = []
        own = words(text)
        for row, other in enumerate(held_out):
            asked = words(other)
            covered = [False] * len(asked)
            for at in range(len(asked) - ngram + 1):
                gram = asked[at : at + ngram]
                if any(own[start : start + ngram] == gram for start in range(len(own))):
                    covered[at : at + ngram] = [True] * ngram
            share = sum(covered) / len(asked) if asked else 0
            if 0 < len(asked) < ngram:
                share = float(own == asked)
            figures = [word for word in asked if word in "0123456789"]
            if share > threshold and not (same and any(figures.count(word) > own.count(word) for word in figures)):
                best.append((row, share))
                if row not in found.held_out or share > found.held_out[row].share:
                    found.held_out[row] = Match(number, share)
        if best:
            found.trained[number] = Match(*max(best, key=lambda pair: (pair[1], -pair[0])))
    return found


@pytest.mark.parametrize("common", [64, 2])
def test_against_a_slow_count(common: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few words, so that much is shared; with `common` at 2, most n-grams are taken for a template's."""
    monkeypatch.setattr("posttrain.data.overlap._COMMON", common)
    rng = random.Random(common)
    flagged = 0
    for ngram, threshold, same in ((2, 0.5, False), (3, 0.5, True), (3, 0.8, False), (4, 0.0, True)):
        for _ in range(15):
            opening = rng.choices("ab0", k=rng.randrange(9))
            train, held_out = (
                [" ".join(opening * rng.randrange(2) + rng.choices("ab01", k=rng.randrange(14))) for _ in range(12)]
                for _ in range(2)
            )
            texts = ([[text] for text in train], [[text] for text in held_out])
            fast = find_overlap(*texts, ngram=ngram, threshold=threshold, same_numbers=same)
            assert fast == slow_overlap(train, held_out, ngram, threshold, same)
            flagged += len(fast.held_out)
    assert flagged > 100


def test_what_is_marked() -> None:
    text = "Well: " + " ".join(ALPHABET[:10]) + " x"
    other = " ".join(ALPHABET).upper()
    assert [text[start:end] for start, end in marked(text, other)] == ["a b c d e f g h i j"]
    assert [other[start:end] for start, end in marked(other, text)] == ["A B C D E F G H I J"]
    assert marked("Hi  there!", "hi there !") == [(0, 10)]
    assert marked("Hi", "there") == marked("", "") == []


def test_the_texts_of_a_record() -> None:
    system = {"role": "system", "content": "s"}
    chat = Chat([system, *user("a"), {"role": "assistant", "content": "b"}, *user("c")])
    assert turns_of(chat) == ["a", "c"]
    assert turns_of(chat, "all") == ["a", "b", "c"]
    answer = [{"role": "assistant", "content": "b"}]
    assert turns_of(Preference(user("a"), answer, user("c")), "all") == ["a", "b", "c"]
    assert turns_of(Feedback(user("a"), answer, True), "all") == ["a", "b"]
    assert turns_of(Problem(user("a"), {"answer": 4, "id": 7}), "all") == ["a", "4"]
    assert turns_of(Problem(user("a"))) == turns_of(Problem(user("a")), "all") == ["a"]


def test_notes_name_the_worst_pair() -> None:
    text = " ".join(ALPHABET)
    train = [
        Chat([*user(text[:30]), {"role": "assistant", "content": "b"}], place="t:1"),
        Problem(user(text), place="t:2"),
    ]
    held_out = {
        "dev": [Problem(user(text), place="d:1"), Problem(user("unlike"), place="d:2")],
        "unseen": [Problem(user("nothing of it"), place="u:1")],
        "problems": [],
    }
    assert overlap_notes(train, held_out, "the command") == [
        "warning: 1 of 2 dev rows overlap with 2 of 2 training rows: d:1 is 100% in t:2",
        "  take them out: the command",
    ]
    assert overlap_notes(train, {"unseen": held_out["unseen"]}, "the command") == []
    assert overlap_notes([], held_out) == []
    sums = [Problem(user(f"{text} then {number}"), place=f"s:{number}") for number in (3, 4, 5)]
    assert overlap_notes(sums[:1], {"dev": sums[1:]}, "the command") == [
        "2 of 2 dev rows are training rows with other numbers in them"
    ]


def column(path: Path, name: str) -> list[list[str]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [[json.loads(line)[name]] for line in file]


@pytest.mark.slow
def test_real_sets(shared_data: Path) -> None:
    """Counts that plain Python found: GSM8K is clean, what was made from a test set is found."""
    folder = shared_data / "math"
    gsm8k, hard = column(folder / "gsm8k_test.jsonl.gz", "question"), column(folder / "gsm_hard.jsonl.gz", "input")
    started = time.process_time()
    found = find_overlap(column(folder / "gsm8k_train.jsonl.gz", "question"), gsm8k)
    assert (len(found.held_out), len(found.trained), found.looked_at) == (2, 3, 7473)
    assert (len(hard), len(find_overlap(gsm8k, hard).held_out)) == (1319, 1317)
    found = find_overlap(
        column(folder / "math_test5000.jsonl.gz", "problem"), column(folder / "math500.jsonl.gz", "problem")
    )
    assert len(found.held_out) == 500
    assert len(found.trained) == 792  # the 791 by 8-grams, and the one by its few words
    assert time.process_time() - started < 10
