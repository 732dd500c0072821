"""`data dedup`: what is a duplicate, which one stays, and how many near ones LSH misses."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from posttrain.curation.dedup import Rule, dedup, report
from posttrain.curation.minhash import HASHES, alike, near_duplicates, pack, rows_of_band, sketch
from posttrain.curation.normalised import compared, normalised, shingles
from posttrain.data.ngrams import numbers
from posttrain.data.read import read_rows
from posttrain.data.records import Chat, Feedback, Preference, Problem
from posttrain.errors import UserError
from posttrain.recipe.schema import Source

WORDS = [f"w{number}" for number in range(40)]


def row(prompt: str, completion: str = "yes", **more: Any) -> dict[str, Any]:
    return {"prompt": prompt, "completion": completion, **more}


def write(path: Path, rows: list[dict[str, Any]]) -> Source:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Source(path=str(path))


def left(tmp_path: Path, rows: list[dict[str, Any]], stage: str = "sft", **rule: Any) -> list[int]:
    """Which rows stay."""
    source, out = write(tmp_path / "rows.jsonl", rows), tmp_path / "once.jsonl"
    done = dedup(source, stage, out, Rule(**rule), force=True)
    written = [found for found, _ in read_rows(str(out))]
    assert (done.read, done.written) == (len(rows), len(written))
    numbered = iter(range(len(rows)))
    return [next(number for number in numbered if rows[number] == found) for found in written]


def test_what_is_normalised() -> None:
    assert normalised('"Hi,  THERE!" it’s 3.5.') == ["hi", "there", "it", "'", "s", "3", ".", "5"]  # noqa: RUF001
    assert normalised("5! and 5, 6") == ["5", "!", "and", "5", ",", "6"]
    assert normalised("(a+b)*c = 2") != normalised("a+(b*c) = 2")
    assert normalised("a < b") != normalised("a > b")


def test_each_match_includes_those_before(tmp_path: Path) -> None:
    text = " ".join(WORDS)
    rows = [row(text), row(text), row(text.upper() + "."), row(text + " more"), row("another one")]
    assert left(tmp_path, rows, match="exact") == [0, 2, 3, 4]
    assert left(tmp_path, rows, match="normalised") == [0, 3, 4]
    assert left(tmp_path, rows, match="near") == [0, 4]
    assert left(tmp_path, rows, match="near", threshold=0.99) == [0, 3, 4]
    assert left(tmp_path, rows, match="near", keep="longest") == [3, 4]


def test_the_jaccard_by_hand() -> None:
    # 38 runs of three words; another word in the middle changes three of them: 35 of 41.
    changed = [*WORDS[:20], "other", *WORDS[21:]]
    own, other = (pack(shingles([numbers(each)])) for each in (WORDS, changed))
    assert alike(own, other) == 35 / 41
    assert alike(own, own) == 1.0
    assert near_duplicates([" ".join(WORDS), " ".join(changed)], 35 / 41) == {1: 0}
    assert near_duplicates([" ".join(WORDS), " ".join(changed)], 0.86) == {}


def test_prompt_and_answer_must_each_be_alike(tmp_path: Path) -> None:
    long = " ".join(WORDS)
    rows = [row(long, "sports"), row(long, "politics"), row(long + " more", "sports")]
    assert left(tmp_path, rows) == [0, 1]
    assert left(tmp_path, rows, by="prompt") == [0]


def test_what_must_be_the_same() -> None:
    user = [{"role": "user", "content": " ".join(WORDS)}]
    answer, other = ([{"role": "assistant", "content": text}] for text in ("one answer here", "another text there"))
    system = {"role": "system", "content": "Be short."}
    different = [
        (Chat([*user, *answer]), Chat([system, *user, *answer])),
        (Chat([*user, *answer]), Chat([*user, *answer], tools=[{"type": "function"}])),
        (Feedback(user, answer, True), Feedback(user, answer, False)),
        (Preference(user, answer, other), Preference(user, other, answer)),
        (Problem(user, {"answer": "4"}), Problem(user, {"answer": "5"})),
        (Problem(user, {"solution": "It is four"}), Problem(user, {"solution": "No one knows that"})),
    ]
    for one, two in different:
        own, theirs = compared(one, "content"), compared(two, "content")
        assert own.normalised != theirs.normalised
        assert alike(pack(own.prompt, own.answer), pack(theirs.prompt, theirs.answer)) == 0.0
        assert compared(one, "prompt").normalised == compared(two, "prompt").normalised
    ids = [compared(Problem(user, {"answer": "4", "id": name}), "content") for name in ("a", "b")]
    assert ids[0].exact != ids[1].exact and ids[0].normalised == ids[1].normalised


def test_other_numbers(tmp_path: Path) -> None:
    rows = [row(" ".join([*WORDS, "7"])), row(" ".join([*WORDS, "8"])), row(" ".join([*WORDS, "7", "x"]))]
    assert left(tmp_path, rows) == [0]
    assert left(tmp_path, rows, same_numbers=True) == [0, 1]


def test_a_chain_does_not_carry_far(tmp_path: Path) -> None:
    """Each text is alike to the next, the first not to the third: the third stays."""
    texts = [" ".join(WORDS[start : start + 30]) for start in (0, 2, 4)]
    sets = [pack(shingles([numbers(text.split())])) for text in texts]
    assert alike(sets[0], sets[1]) == alike(sets[1], sets[2]) == 26 / 30
    assert alike(sets[0], sets[2]) == 24 / 32
    assert left(tmp_path, [row(text) for text in texts]) == [0, 2]


def test_rows_without_words_stay(tmp_path: Path) -> None:
    rows = [{"prompt": text, "answer": None} for text in ("?", "!", "?", "…", "a", "A")]
    assert left(tmp_path, rows, "rlvr") == [0, 1, 3, 4]
    assert near_duplicates(["", "", "a b", "A b.", "a"]) == {3: 2}


def test_the_report(tmp_path: Path) -> None:
    text = " ".join(WORDS)
    rows = [row(text), row("<b>"), row(text), row(text + " <script> \x1b[1m"), row("<b>!")]
    source = write(tmp_path / "rows.jsonl", rows)
    done = dedup(source, "sft", tmp_path / "a.jsonl", report_to=tmp_path / "a.pairs.jsonl")
    assert done.left_out == {"exact": 1, "normalised": 1, "near": 1}
    assert (done.clusters, done.largest) == (2, 2)
    pairs = [pair for pair, _ in read_rows(str(tmp_path / "a.pairs.jsonl"))]
    assert [pair["left out"]["place"].rpartition(":")[2] for pair in pairs] == ["3", "4", "5"]
    assert [pair["stays"]["place"].rpartition(":")[2] for pair in pairs] == ["1", "1", "2"]
    assert [pair["why"] for pair in pairs] == ["exact", "near, 86%", "normalised"]  # 38 of 44 runs
    said = "\n".join(report(done))
    assert "wrote 2 of 5 rows: 3 left out" in said and "⟦" in said and "\x1b" not in said
    dedup(source, "sft", tmp_path / "b.jsonl", report_to=tmp_path / "b.html")
    page = (tmp_path / "b.html").read_text()
    assert "<mark>" in page and "&lt;script&gt;" in page and "<script>" not in page
    with pytest.raises(UserError, match="is there already"):
        dedup(source, "sft", tmp_path / "c.jsonl", report_to=tmp_path / "b.html")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "a.jsonl", "a.pairs.jsonl", "b.html", "b.jsonl", "rows.jsonl",
    ]  # fmt: skip


def test_the_bands_miss_few() -> None:
    assert rows_of_band(0.8) == 6  # 21 bands: (1 - 0.8^6)^21 = 0.2 %; of 7, 18 bands miss 1.4 %
    for threshold in (0.3, 0.5, 0.7, 0.8, 0.9, 1.0):
        rows = rows_of_band(threshold)
        assert (1 - threshold**rows) ** (HASHES // rows) <= 0.01


def test_hashes_agree_as_often_as_the_jaccard_says() -> None:
    rng = np.random.default_rng(0)
    shared = rng.integers(0, 2**64, 300, dtype=np.uint64)
    own, other = (np.concatenate([shared, rng.integers(0, 2**64, 100, dtype=np.uint64)]) for _ in range(2))
    agreed = []
    for at in rng.integers(0, 2**64, 50, dtype=np.uint64):
        one, two = (np.frombuffer(sketch(each + at, 0.8), np.uint8)[:HASHES] for each in (own, other))
        agreed.append(one == two)
    assert abs(np.mean(agreed) - 300 / 500) < 0.02  # 6,400 draws: a standard error of 0.006


def brute_force(sets: list[set[tuple[str, ...]]], threshold: float) -> dict[int, int]:
    """Each text with the first one before it that stays and is nearly the same."""
    found: dict[int, int] = {}
    kept: list[int] = []
    for at, own in enumerate(sets):
        able = (k for k in kept if own and min(len(own), len(sets[k])) >= threshold * max(len(own), len(sets[k])))
        twin = next((k for k in able if len(own & sets[k]) >= threshold * len(own | sets[k])), None)
        if twin is None:
            kept.append(at)
        else:
            found[at] = twin
    return found


def runs(text: str) -> set[tuple[str, ...]]:
    listed = normalised(text)
    size = min(3, len(listed))
    return {tuple(listed[at : at + size]) for at in range(len(listed) - size + 1)} if listed else set()


@pytest.mark.slow
def test_misses_against_brute_force(shared_data: Path) -> None:
    """1,200 real problems and 800 edited copies of them, most of them near the threshold."""
    with gzip.open(shared_data / "math" / "gsm8k_train.jsonl.gz", "rt") as file:
        texts = [json.loads(line)["question"] for line in file][:1200]
    rng = random.Random(0)
    for number in range(800):
        edited = texts[number].split()
        for _ in range(rng.randrange(1, 5)):
            edited[rng.randrange(len(edited))] = rng.choice(["other", "words", "stand", "here"])
        texts.append(" ".join(edited))
    for threshold in (0.7, 0.8):
        sets = list(map(runs, texts))
        found, expected = near_duplicates(texts, threshold), brute_force(sets, threshold)
        assert len(expected) > 200
        assert len(expected.keys() - found.keys()) <= 0.01 * len(expected)
        for row, twin in found.items():  # none is false
            assert len(sets[row] & sets[twin]) >= threshold * len(sets[row] | sets[twin])
