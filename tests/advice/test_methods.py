"""Which methods are advised, from rows whose answer a person knows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from posttrain.advice.facts import held_out_by_name, look_at_source
from posttrain.advice.measured import Measured
from posttrain.advice.methods import Advice, advise, situation
from posttrain.recipe.schema import Source

PROBLEMS = [{"prompt": f"what is {n} + {n}?", "answer": str(2 * n)} for n in range(40)]
CHATS = [{"prompt": f"say {n}", "completion": f"{n}, gladly"} for n in range(600)]


def advised(folder: Path, measured: Measured | None = None, **files: Sequence[Any]) -> dict[str, Advice]:
    looked = []
    for name, rows in files.items():
        path = folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        looked.append(look_at_source(Source(path=str(path)), held_out=held_out_by_name(path.name)))
    return {advice.method: advice for advice in advise(situation(looked, measured, []))}


def rate(passed: float, ever: float, teaching: int | None = None) -> Measured:
    return Measured("runs", "", passed, problems=40, samples=8, ever=ever, teaching=teaching)


def test_the_order_is_prompt_sft_dpo_kto_rlvr(tmp_path: Path) -> None:
    assert list(advised(tmp_path, chats=CHATS)) == ["prompt", "sft", "dpo", "kto", "rlvr"]


def test_chats_fit_sft_alone(tmp_path: Path) -> None:
    found = advised(tmp_path, chats=CHATS)
    assert {method: advice.verdict for method, advice in found.items()} == {
        "prompt": "first",
        "sft": "fits",
        "dpo": "no",
        "kto": "no",
        "rlvr": "no",
    }
    assert not found["prompt"].startable  # nothing to measure with
    assert "write 50 to 200 problems" in found["prompt"].todo[0]


def test_a_dozen_chats_are_too_few(tmp_path: Path) -> None:
    sft = advised(tmp_path, chats=CHATS[:12])["sft"]
    assert (sft.verdict, sft.startable) == ("once", False)
    assert "about 1,000" in sft.todo[0]


@pytest.mark.parametrize(
    ("measured", "verdict", "said"),
    [
        (None, "once", "posttrain signal"),
        (rate(0, 0, 0), "once", "sft first"),
        (rate(0.4, 0.8, 25), "fits", "25 of 40 problems teach"),
        (rate(0.4, 0.8), "fits", "right 40.0%"),
        (rate(0.5, 0.5, 0), "once", "more attempts"),
        (rate(0.97, 1, 3), "no", "not needed"),
    ],
)
def test_rlvr_goes_by_the_pass_rate(tmp_path: Path, measured: Measured | None, verdict: str, said: str) -> None:
    rlvr = advised(tmp_path, measured, problems=PROBLEMS)["rlvr"]
    assert rlvr.verdict == verdict
    assert said in " ".join([*rlvr.why, *rlvr.todo])
    assert rlvr.startable is (verdict != "no")


def test_bare_numbers_are_not_for_imitation_and_worked_answers_are(tmp_path: Path) -> None:
    assert "guess" in advised(tmp_path, problems=PROBLEMS)["sft"].why[0]
    worked = [
        {**row, "answer": f"We add the two numbers, one after the other, carefully, and get\n#### {row['answer']}"}
        for row in PROBLEMS
    ]
    sft = advised(tmp_path, problems=[{**row, "prompt": f"{row['prompt']} {n}"} for n in range(3) for row in worked])[
        "sft"
    ]
    assert sft.verdict == "fits" and "120 rows" in sft.why[0]


def test_problems_with_tools_do_not_fit_rlvr(tmp_path: Path) -> None:
    tools = [{"type": "function", "function": {"name": "look_up", "parameters": {}}}]
    rlvr = advised(tmp_path, problems=[{**row, "tools": tools} for row in PROBLEMS])["rlvr"]
    assert rlvr.verdict == "no" and "cannot call tools" in rlvr.why[0]


def test_problems_without_an_answer_wait_for_one(tmp_path: Path) -> None:
    rlvr = advised(tmp_path, prompts=[{"prompt": f"write about {n}"} for n in range(40)])["rlvr"]
    assert (rlvr.verdict, rlvr.startable) == ("once", False)
    assert "add an `answer` column" in rlvr.todo[-1]


def test_held_out_problems_are_what_is_measured(tmp_path: Path) -> None:
    found = advised(tmp_path, problems=PROBLEMS, dev=[{**row, "prompt": f"again: {row['prompt']}"} for row in PROBLEMS])
    assert "40 problems, held out" in found["prompt"].why[0]
    assert "±15 points" in found["prompt"].why[0]  # 1.96 * sqrt(0.25 / 40) is 0.155
    assert "held out: 40 rows (dev.jsonl)" in found["rlvr"].why


def test_one_sided_thumbs_wait_for_the_other_side(tmp_path: Path) -> None:
    kto = advised(tmp_path, thumbs=[{**row, "label": True} for row in CHATS])["kto"]
    assert (kto.verdict, kto.condition[:21]) == ("once", "there are thumbs down")


def test_pairs_whose_chosen_answer_is_longer_are_warned_of(tmp_path: Path) -> None:
    pairs = [{"prompt": f"{n}", "chosen": "a long answer", "rejected": "short"} for n in range(200)]
    dpo = advised(tmp_path, pairs=pairs)["dpo"]
    assert dpo.verdict == "fits"
    assert "longer in 100% of pairs, 2.6 times" in " ".join(dpo.why)
    assert "teach length too" in dpo.todo[0]
