"""The figures of rows, against values worked by hand and against plain lists."""

from __future__ import annotations

import gzip
import json
from array import array
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from posttrain.data.tokenize import tokenize_chats, tokenize_preferences
from posttrain.inspection import figures
from posttrain.inspection.answers import gold, kind_of, stands_in
from posttrain.inspection.languages import count_languages
from posttrain.inspection.opened import Opened, open_rows
from posttrain.inspection.stats import statistics
from posttrain.inspection.suspicious import suspicions
from posttrain.inspection.tokens_a_row import length_bias
from posttrain.inspection.warn import warnings_of
from posttrain.model.tokenizer import load_tokenizer


@pytest.fixture(autouse=True)
def no_language_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """The detector reads its models for seconds; one test below has it."""
    monkeypatch.setattr("posttrain.inspection.stats.count_languages", lambda texts: None)


def written(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def figures_from(name: str, **asked: Any) -> tuple[dict[str, Any], Opened]:
    opened = open_rows(name, **asked)
    return statistics(opened, load_tokenizer(opened.parent, opened.model)), opened


def test_lengths_by_hand() -> None:
    found = figures.summary(array("q", [5, 1, 2, 3, 4]))
    assert found is not None
    assert (found["total"], found["mean"], found["p50"], found["p95"], found["max"]) == (15, 3.0, 3, 5, 5)
    assert sum(each["rows"] for each in found["histogram"]) == 5
    assert figures.summary(array("q")) is None


def test_every_length_falls_into_the_bin_that_names_it() -> None:
    for values in ([7], [7] * 50, list(range(1, 200)), [1, 10, 100, 1000, 10_000] * 3, [0, 5000]):
        bins = figures.histogram(np.array(sorted(values)))
        for each in bins:
            assert each["rows"] == sum(each["start"] <= value < each["end"] for value in values)
        assert sum(each["rows"] for each in bins) == len(values)


def test_wilson_is_the_published_interval() -> None:
    # Newcombe 1998, Statistics in Medicine 17, table I: 81 of 263, and 0 of 20.
    assert figures.wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert figures.wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)


def test_keys_are_counted_as_lists_are() -> None:
    keys, members = array("Q", [3, 1, 3, 2, 1, 3]), array("Q", [1, 1, 2, 1, 1, 1])
    assert figures.repeated(keys) == len(keys) - len(set(keys)) == 3
    assert figures.most_common(keys) == (0, 3)
    assert figures.several(keys, members) == 1  # only 3 has both members


def test_length_bias_leaves_out_equal_pairs() -> None:
    found = length_bias([4, 4, 9, 1], [4, 2, 3, 6])
    assert (found["chosen_longer"], found["rejected_longer"], found["equal"]) == (2, 1, 1)
    assert (found["share"], found["median_chosen"], found["median_rejected"]) == (2 / 3, 4.0, 3.5)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ("72", "number"),
        ("-1,234.5", "number"),
        ("$18", "number"),
        ("50%", "number"),
        ("(B)", "choice letter"),
        ("yes", "yes/no"),
        (r"\frac{1}{2}", "expression"),
        ("x^2 + 1", "expression"),
        ('{"a": 1}', "JSON"),
        ("def f(x):\n    return x", "code"),
        ("Paris", "short text"),
        ("word " * 11, "long text"),
        ("", "empty"),
    ],
)
def test_kinds_of_answers(answer: str, kind: str) -> None:
    assert kind_of(answer) == kind


def test_gold_answers_and_whether_the_prompt_says_them() -> None:
    assert gold({"answer": "2+2=4\n#### 4"}) == "4"
    assert gold({"story": "x"}) is None
    assert stands_in("Paris", "Is it Paris or Rome?")
    assert not stands_in("Paris", "A Parisian asks.")
    assert not stands_in("1234", "Take 1234.")


CUT = "The word before this one was not the last one that the writer of the text had in mind when " * 3


@pytest.mark.parametrize(
    ("answer", "odd"),
    [
        ("A cafÃ© in Paris.", ["mojibake"]),
        ("A caf\ufffd.", ["replacement_character"]),
        ("Read <b>it</b><br/>now.", ["html"]),
        ("```html\n<div>x</div>\n```", []),
        ("As an AI language model, I have no opinion.", ["refusal"]),
        ("I'm sorry, but I can't help with that.", ["refusal"]),
        (CUT + "the editor came and", ["ends_mid_sentence"]),
        (CUT + "the editor came.", []),
        (CUT + "\n- an item of a list needs no full stop after all of it", []),
        ("```python\nprint(1)", ["ends_mid_sentence"]),
        ("I do not know what to say. " * 9, ["repeats_itself"]),
        ("Ça va très bien, merci; Ângela.", []),
        ("", []),
    ],
)
def test_suspicions(answer: str, odd: list[str]) -> None:
    found = [name for name in suspicions(answer) if not (answer.startswith(CUT) and name == "repeats_itself")]
    assert found == odd


def test_chat_rows_by_hand(tmp_path: Path) -> None:
    one = {"messages": [{"role": "user", "content": "Say hi."}, {"role": "assistant", "content": "Hi!"}]}
    other = {"messages": [{"role": "user", "content": "Say hi."}, {"role": "assistant", "content": "HI"}]}
    third = {
        "messages": [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "Say hi."},
            {"role": "assistant", "content": "<think>Hm.</think>Hello."},
            {"role": "user", "content": "Again."},
            {"role": "assistant", "content": "Hello."},
        ]
    }
    found, opened = figures_from(written(tmp_path / "rows.jsonl", [one, one, other, third]), max_length=30)
    assert found["rows"] == found["counted"] == 4
    assert found["duplicates"] == {"exact": 1, "normalised": 2, "near": 0, "near_of": 4}
    said = found["conversation"]
    assert (said["user_turns"], said["roles"]) == ({"1": 3, "2": 1}, {"user": 5, "assistant": 5, "system": 1})
    assert (said["with_system"], said["distinct_systems"], said["with_thinking"], said["with_tools"]) == (1, 1, 1, 0)
    rows = tokenize_chats(opened.records, load_tokenizer(opened.parent, opened.model), max_length=None).rows
    lengths = [len(row["input_ids"]) for row in rows]
    trained = sum(label != -100 for row in rows for label in row["labels"])
    assert found["tokens"]["total"] == sum(lengths)
    assert found["trained"] == {"tokens": trained, "mean": trained / 4, "share": trained / sum(lengths)}
    over = [length - 30 for length in lengths if length > 30]
    assert over
    assert (found["truncation"]["rows"], found["truncation"]["tokens_lost"]) == (len(over), sum(over))
    assert found["truncation"]["max_length_for_99_percent"] == max(lengths)


def test_rows_that_the_limit_leaves_nothing_of_are_counted_by_reason(tmp_path: Path) -> None:
    row = {"prompt": "Say it again and again. " * 20, "completion": "No."}
    found, _ = figures_from(written(tmp_path / "rows.jsonl", [row, {**row, "prompt": "Hm?"}]), max_length=20)
    assert found["left_out"] == {"had no trained token": 1}
    assert any("too_long: keep_end" in warning for warning in warnings_of(found))


def test_thumbs_that_contradict_each_other(tmp_path: Path) -> None:
    row = {"prompt": "2 + 2?", "completion": "4", "label": True}
    rows = [row, {**row, "label": False}, {**row, "completion": "5", "label": False}, {**row, "prompt": "1 + 3?"}, row]
    found, _ = figures_from(written(tmp_path / "rows.jsonl", rows))
    assert found["labels"] == {"up": 3, "down": 2, "weights": [1.0, 1.5]}
    assert found["contradictions"] == 1
    assert any("cancel out" in warning for warning in warnings_of(found))


def test_pairs_both_ways_round_and_of_unequal_length(tmp_path: Path) -> None:
    pairs = [
        {"prompt": f"Number {n}?", "chosen": "It is this one, and no other one.", "rejected": "No."} for n in range(20)
    ]
    pairs.append({"prompt": "Number 0?", "chosen": pairs[0]["rejected"], "rejected": pairs[0]["chosen"]})
    found, opened = figures_from(written(tmp_path / "pairs.jsonl", pairs))
    assert found["contradictions"] == 1
    assert found["length_bias"]["share"] == 20 / 21
    rows = tokenize_preferences(opened.records, load_tokenizer(opened.parent, opened.model), max_length=None).rows
    answers = [len(row["chosen_ids"]) + len(row["rejected_ids"]) for row in rows]
    read = sum(2 * len(row["prompt_ids"]) for row in rows) + sum(answers)
    assert found["trained"]["tokens"] == sum(answers)
    assert found["trained"]["share"] == pytest.approx(sum(answers) / read)
    assert any("ld_alpha" in warning for warning in warnings_of(found))


def test_a_sample_is_the_same_each_time(tmp_path: Path) -> None:
    rows = [{"prompt": f"{n}?", "completion": "x" * n} for n in range(1, 60)]
    opened = open_rows(written(tmp_path / "rows.jsonl", rows))
    tokenizer = load_tokenizer(opened.parent, opened.model)
    found = statistics(opened, tokenizer, rows=10)
    assert (found["rows"], found["counted"]) == (59, 10)
    assert found == statistics(opened, tokenizer, rows=10)


def test_gsm8k_against_plain_lists(shared_data: Path) -> None:
    path = shared_data / "math" / "gsm8k_test.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        answers = [json.loads(line)["answer"].split("####")[1].strip() for line in lines]
    found, _ = figures_from(str(path), stage="rlvr")
    [(answer, times)] = Counter(answers).most_common(1)
    assert found["rows"] == 1319
    assert found["answers"]["kinds"] == {"number": 1319}
    assert (found["answers"]["most_common"], found["answers"]["times"]) == (answer, times)
    assert warnings_of(found) == []


@pytest.mark.slow
def test_thumbs_and_tool_calls_that_are_known(shared_data: Path) -> None:
    found, _ = figures_from(str(shared_data / "kto" / "llamafactory_kto_en_demo.jsonl.gz"), stage="kto")
    assert found["labels"] == {"up": 150, "down": 150, "weights": [1.0, 1.0]}
    found, _ = figures_from(str(shared_data / "sft" / "zava_sft_test.jsonl.gz"), stage="sft")
    assert (found["conversation"]["with_tools"], found["conversation"]["with_tool_calls"]) == (103, 103)
    assert found["unreadable"]["rows"] == 103  # the built-in template writes no calls


@pytest.mark.slow
def test_languages() -> None:
    texts = {
        "en": "The weather was lovely today, and we walked along the river until the evening.",
        "de": "Das Wetter war heute schön, und wir gingen bis zum Abend am Fluss entlang.",
        "fr": "Il faisait beau aujourd'hui et nous avons marché le long de la rivière jusqu'au soir.",
        "unsure": "2 + 2 = 4",
    }
    assert count_languages(texts.values()) == dict.fromkeys(sorted(texts), 1)


def test_near_duplicates_have_the_same_numbers(tmp_path: Path) -> None:
    story = "The old man walked slowly along the river {} and looked at the boats that had come in with the tide {}"
    prompts = [story.format("bank", 7), story.format("bank", "no. 7"), story.format("bank", 8), story.format("side", 7)]
    rows = [{"prompt": prompt, "completion": "A quiet scene at the water."} for prompt in prompts]
    found, _ = figures_from(written(tmp_path / "rows.jsonl", rows))
    assert found["duplicates"] == {"exact": 0, "normalised": 0, "near": 2, "near_of": 4}  # 8 is another row
