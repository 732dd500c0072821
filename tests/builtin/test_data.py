"""The quickstart's data sets: reproducible, disjoint, and with the right answers."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from posttrain.builtin.data import DATA_SETS, prompt_of, write
from posttrain.builtin.tasks import NAMES, split_of

DATA = Path(__file__).parents[2] / "recipes" / "quickstart" / "data"


def rows_of(name: str) -> list[dict]:
    return [json.loads(line) for line in (DATA / f"{name}.jsonl").read_text().splitlines()]


def prompts_of(name: str) -> list[str]:
    """The text of every user turn of a data set."""
    texts = []
    for row in rows_of(name):
        messages = row.get("messages", row.get("prompt"))
        if isinstance(messages, str):
            texts.append(messages)
        else:
            texts += [m["content"] for m in messages if m["role"] == "user"]
    return texts


def operands_of(name: str) -> set[tuple[int, ...]]:
    """The numbers of every sum in a data set, without signs or order."""
    found = (tuple(sorted(map(int, re.findall(r"\d+", text)))) for text in prompts_of(name))
    return {numbers for numbers in found if len(numbers) == 3}


def test_writing_again_gives_the_shipped_bytes(tmp_path):
    write(tmp_path)
    for name in DATA_SETS:
        assert (tmp_path / f"{name}.jsonl").read_bytes() == (DATA / f"{name}.jsonl").read_bytes(), name


@pytest.mark.parametrize("name", DATA_SETS)
def test_no_prompt_twice(name):
    prompts = [prompt_of(row) for row in rows_of(name)]
    assert len(set(prompts)) == len(prompts)


def test_no_two_sets_share_numbers():
    owners: dict[tuple[int, ...], str] = {}
    for name in DATA_SETS:
        for numbers in operands_of(name):
            assert owners.setdefault(numbers, name) == name, numbers


def test_no_set_has_numbers_of_the_base_training():
    for name in DATA_SETS:
        for numbers in operands_of(name):
            assert split_of(numbers) == name


@pytest.mark.parametrize("name", ["problems", "dev", "unseen"])
def test_answers_follow_from_the_story(name):
    for row in rows_of(name):
        a, b, c = map(int, re.findall(r"\d+", row["prompt"]))
        sign = -1 if re.search("gave away|sells|fell out|takes", row["prompt"]) else 1
        assert int(row["answer"]) == a + b + sign * c


def test_preferences_differ_in_manner_alone():
    for row in rows_of("preferences"):
        chosen, rejected = row["chosen"][0]["content"], row["rejected"][0]["content"]
        assert rejected.startswith(chosen + "\n")


def test_every_sum_of_the_sft_set_ends_with_the_asked_line():
    for row in rows_of("sft"):
        if "Answer:" in row["messages"][-2]["content"]:
            assert re.search(r"^Answer: \d+$", row["messages"][-1]["content"], re.MULTILINE)


def test_thumbs_are_unbalanced():
    up = sum(row["label"] for row in rows_of("feedback"))
    assert 0.55 < up / 600 < 0.75


def test_unseen_has_stories_that_no_stage_saw():
    new = [row["prompt"] for row in rows_of("unseen") if row["story"] == "new"]
    assert len(new) == 50

    def shape(text: str) -> str:
        return re.sub(r"\d+|\b(" + "|".join(NAMES) + r")\b", "#", text)[:12]

    seen = {shape(text) for name in ("sft", "preferences", "feedback", "problems") for text in prompts_of(name)}
    assert not seen & {shape(text) for text in new}
