"""The made-up log of thumbs: reproducible, and what it is said to be."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

from posttrain.builtin.tasks import split_of
from posttrain.builtin.thumbs import write

LOG = Path(__file__).parents[2] / "recipes" / "quickstart" / "data" / "thumbs.jsonl"


def test_writing_again_gives_the_shipped_bytes(tmp_path: Path) -> None:
    write(tmp_path / "thumbs.jsonl")
    assert (tmp_path / "thumbs.jsonl").read_bytes() == LOG.read_bytes()


def test_the_log_is_unbalanced_noisy_and_of_problems_that_are_feedbacks_own() -> None:
    rows = [json.loads(line) for line in LOG.read_text(encoding="utf-8").splitlines()]
    last = {(row["prompt"], row["response"], row["user"]): row for row in rows}
    assert (len(rows), len(last)) == (2000, 1800)
    assert Counter(row["thumb"] for row in last.values()) == {"up": 1440, "down": 360}
    agrees = 0
    for row in last.values():
        a, b, c = map(int, re.findall(r"\d+", row["prompt"]))
        assert split_of((a, b, c)) == "feedback"
        answer = a + b + (-c if re.search("gave away|sells|fell out", row["prompt"]) else c)
        good = re.search(r"^Answer: (\d+)$(?!\n)", row["response"], re.MULTILINE)
        right = good is not None and int(good[1]) == answer and row["response"].endswith(good[0])
        agrees += right == (row["thumb"] == "up")
    assert 0.95 < agrees / len(last) < 0.985  # one thumb in thirty is a slip
