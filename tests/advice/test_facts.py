"""What a source's rows are said to be."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from posttrain.advice.facts import SAMPLE, Facts, held_out_by_name, look_at_source
from posttrain.recipe.schema import Source


def looked_at(path: Path, rows: Sequence[Any]) -> Facts:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return look_at_source(Source(path=str(path)), held_out=False)


def test_pairs_count_their_lengths(tmp_path: Path) -> None:
    rows = [
        {"prompt": "a", "chosen": "four", "rejected": "no"},
        {"prompt": "b", "chosen": "x", "rejected": "long"},
        {"prompt": "c", "chosen": "same", "rejected": "same"},
    ]
    facts = looked_at(tmp_path / "pairs.jsonl", rows)
    assert list(facts.fits) == ["dpo"]
    assert facts.fits["dpo"].rows == 2
    assert dict(facts.fits["dpo"].unusable) == {"chosen and rejected are the same": 1}
    assert (facts.chosen_longer, facts.chosen_characters, facts.rejected_characters) == (1, 5, 6)


def test_thumbs_are_counted_and_are_no_chats_alone(tmp_path: Path) -> None:
    rows = [{"prompt": "a", "completion": "b", "label": label} for label in (True, True, False)]
    facts = looked_at(tmp_path / "thumbs.jsonl", rows)
    assert set(facts.fits) == {"sft", "kto"}
    assert (facts.labels[True], facts.labels[False]) == (2, 1)


def test_columns_that_no_format_knows_are_guessed_by_their_names(tmp_path: Path) -> None:
    facts = looked_at(tmp_path / "intents.jsonl", [{"text": "where is my card?", "category": "card"}])
    assert facts.fits["sft"].columns == {"prompt": "text", "completion": "category"}
    assert facts.fits["rlvr"].columns == {"prompt": "text", "answer": "category"}
    assert dict(facts.answers) == {"card": 1}
    nothing = looked_at(tmp_path / "nothing.jsonl", [{"x": 1}])
    assert nothing.fits == {}


def test_rows_that_cannot_be_read_are_counted(tmp_path: Path) -> None:
    facts = looked_at(tmp_path / "rows.jsonl", [{"prompt": "a", "answer": "1"}, "{oops", {"prompt": "", "answer": "2"}])
    assert (facts.rows, facts.bad, facts.fits["rlvr"].rows, facts.fits["rlvr"].bad) == (2, 1, 1, 1)
    assert "rows.jsonl:2" in facts.first_bad
    assert "rows.jsonl:3: the prompt is empty" in facts.fits["rlvr"].first_bad


def test_a_source_without_rows_is_said_not_raised(tmp_path: Path) -> None:
    assert "has no rows" in looked_at(tmp_path / "empty.jsonl", []).trouble
    assert "no file" in look_at_source(Source(path=str(tmp_path / "absent.jsonl")), held_out=False).trouble


def test_a_sample_is_kept_of_many(tmp_path: Path) -> None:
    rows = [{"prompt": f"{number}", "answer": number} for number in range(4 * SAMPLE)]
    fit = looked_at(tmp_path / "many.jsonl", rows).fits["rlvr"]
    numbers = [int(problem.fields["answer"]) for problem in fit.sample]  # type: ignore[union-attr]
    assert fit.rows == 4 * SAMPLE and len(set(numbers)) == SAMPLE
    assert abs(sum(numbers) / SAMPLE - 2 * SAMPLE) < 0.15 * 4 * SAMPLE  # drawn from all of them


@pytest.mark.parametrize(
    ("name", "held_out"),
    [
        ("gsm8k_test.jsonl.gz", True),
        ("dev.jsonl", True),
        ("unseen-2.csv", True),
        ("contest.jsonl", False),
        ("a.jsonl", False),
    ],
)
def test_names_say_what_is_held_out(name: str, held_out: bool) -> None:
    assert held_out_by_name(f"folder/{name}") is held_out
