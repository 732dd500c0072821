"""`eval` on the shipped model: ways to ask, differences over the same problems, what is required, what is kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from posttrain.data.records import Chat, Problem
from posttrain.errors import UserError
from posttrain.evals.compare import Line, compare_models
from posttrain.evals.differences import check_bars, differences
from posttrain.evals.prompting import asked_as, refuse_shown
from posttrain.evals.table import render
from posttrain.evals.unseen import record_look
from posttrain.recipe.schema import Bar, PromptVariant

QUICKSTART = Path(__file__).parents[2] / "recipes" / "quickstart"


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


PROBLEM = Problem([turn("system", "Old."), turn("user", "2+2?")], {"answer": "4", "prompt": "2+2?"})


def test_a_variant_asks_another_way_and_leaves_the_answer() -> None:
    shot = Chat([turn("system", "Not shown."), turn("user", "1+1?"), turn("assistant", "2")])
    variant = PromptVariant(name="v", system="New.", template="{prompt} Think.")
    asked = asked_as(variant, [shot], PROBLEM)
    assert asked.prompt == [
        turn("system", "New."),
        turn("user", "1+1?"),
        turn("assistant", "2"),
        turn("user", "2+2? Think."),
    ]
    assert asked.fields == PROBLEM.fields
    assert asked_as(PromptVariant(name="same"), [], PROBLEM) == PROBLEM


def test_an_example_must_not_show_an_answer() -> None:
    shot = Chat([turn("user", "2+2?"), turn("assistant", "4")], place="s.jsonl:3")
    with pytest.raises(UserError, match=r"s\.jsonl:3 shows the answer"):
        refuse_shown([shot], [PROBLEM], "here")


def line(label: str, *values: float, **extra: Any) -> Line:
    by_key = {str(i): value for i, value in enumerate(values)}
    mean = sum(values) / len(values)
    return Line({"label": label, "pass@1": mean, **extra}, {"pass@1": by_key}, {})


def test_differences_are_over_the_problems_of_both() -> None:
    base, other = line("base", 0.0, 0.5, 1.0, 0.0), line("other", 1.0, 0.5, 1.0)
    (found,) = differences([base, other], base)
    assert (found["label"], found["problems"], found["difference"]) == ("other", 3, pytest.approx(1 / 3))
    assert found["stderr"] == pytest.approx(1 / 3)  # differences 1, 0, 0: variance 1/3 over 3
    # Bonett and Price: 1, 0, 0 and a pair won and one lost: mean 1/5, variance 7/10, over 5
    assert found["ci95"] == pytest.approx([0.2 - 1.959964 * 0.14**0.5, 0.2 + 1.959964 * 0.14**0.5])


def test_bars_hold_for_all_but_the_baseline() -> None:
    base = line("base", *[0.0] * 20)
    good, bad = line("good", *[1.0] * 19, 0.9), line("bad", *[0.0] * 19, 0.2)
    lines = [base, good, bad]
    bars = {"pass@1": Bar(at_least=0.5, gain_above=0.0)}
    verdicts = check_bars(bars, lines, base, differences(lines, base))
    assert [(v["label"], v["rule"], v["passed"]) for v in verdicts] == [
        ("good", "at least", True),
        ("good", "gain above", True),
        ("bad", "at least", False),
        ("bad", "gain above", False),
    ]
    absent = check_bars({"pass@2": Bar(at_least=0.5)}, lines, base, [])
    assert [(verdict["value"], verdict["passed"]) for verdict in absent] == [(None, False)] * 2


def test_looks_are_counted_by_model(tmp_path: Path) -> None:
    row = {"label": "a", "digest": "d", "problems": 1, "samples": 1, "pass@1": 1.0}
    assert [record_look(tmp_path, {**row, "label": label}) for label in "aba"] == [1, 1, 2]
    assert len((tmp_path / "unseen-looks.jsonl").read_text().splitlines()) == 3


# With the model


WAYS = [{"name": "plain"}, {"name": "odd", "system": "Sing."}]


def recipe(folder: Path, **sections: Any) -> Path:
    document = {
        "stage": "eval",
        "out": str(folder / "eval"),
        "model": {"path": "builtin:tiny", "dtype": "float32"},
        "data": {part: [{"path": str(QUICKSTART / "data" / f"{part}.jsonl")}] for part in ("dev", "unseen")},
        "graders": [{"type": "number"}],
        "rollout": {"max_new_tokens": 40},
        "eval": {"samples": 2, "k": [1, 2], "limit": 6, "prompts": WAYS},
    }
    path = folder / "eval.yaml"
    path.write_text(yaml.safe_dump(document | sections))
    return path


@pytest.mark.slow
def test_every_line_is_kept_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = recipe(tmp_path)
    first = compare_models(path, ["base"])
    assert [row["label"] for row in first["models"]] == ["base · plain", "base · odd"]
    assert {found["label"] for found in first["differences"]} == {"base · odd"}
    for row in first["models"]:
        samples = [json.loads(text) for text in Path(row["samples_file"]).read_text().splitlines()]
        assert len(samples) == row["samples"] == 12
        assert row["pass@1"] == pytest.approx(sum(sample["passed"] for sample in samples) / 12)
    kept = Path(first["models"][0]["samples_file"])
    half = kept.read_text().splitlines(keepends=True)[:5]  # two problems and a half
    kept.write_text("".join(half))
    again = compare_models(path, ["base"], baseline="odd")
    assert kept.read_text().startswith("".join(half[:4]))
    figures = [{k: v for k, v in row.items() if k != "seconds"} for row in again["models"]]
    assert figures == [{k: v for k, v in row.items() if k != "seconds"} for row in first["models"]]
    assert again["baseline"] == "base · odd"
    assert "points above base · odd" in render(again)


@pytest.mark.slow
def test_unseen_looks_are_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = recipe(tmp_path, eval={"samples": 1, "k": [1], "limit": 2})
    for _ in range(2):
        compare_models(path, ["base"], unseen=True)
    assert "look 2 at unseen problems" in capsys.readouterr().err
    assert len((tmp_path / "eval" / "unseen-looks.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("sections", "models", "baseline", "message"),
    [
        ({}, ["base", "base"], None, "base · plain is named twice"),
        ({}, ["base"], "bse · plain", r"no line is called 'bse · plain'\. Did you mean 'base · plain'"),
        ({"eval": {"group_by": "topc"}}, [], None, r"eval\.group_by: no field 'topc'"),
        ({"eval": {"require": {"pass@1": {"gain_above": 0}}}}, [], None, r"eval\.require\.pass@1: gain_above compares"),
        ({"eval": {"require": {"pass@1": {"at_least": 60}}}}, [], None, r"60: shares are from 0 to 1; 60% is 0\.6"),
        ({"eval": {"require": {"pass@9": {"at_least": 0}}}}, [], None, r"no figure 'pass@9'\. Did you mean 'pass@"),
        ({"rollout": {"temperature": 0}}, [], None, "greedy sampling gives the same completion"),
        ({"eval": {"prompts": [{"name": "a", "template": "no"}]}}, [], None, r"write \{prompt\} where it belongs"),
    ],
)
def test_what_can_be_mended_is_said_before_a_model_is_loaded(
    tmp_path: Path, sections: dict[str, Any], models: list[str], baseline: str | None, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        compare_models(recipe(tmp_path, **sections), models, baseline=baseline)


def test_a_hosted_model_is_the_row_to_beat(tmp_path: Path, chat_server: Any) -> None:
    chat_server.script({"content": "So the answer is 5.", "usage": {"completion_tokens": 6}})
    name = f"{chat_server.base_url}#big"
    document = compare_models(recipe(tmp_path, eval={"samples": 2, "k": [1, 2], "limit": 3}), [name])
    (row,) = document["models"]
    assert (row["label"], row["digest"], row["problems"], row["samples"]) == (name, name, 3, 6)
    assert row["completions/mean_length"] == 6
    asked = [request["body"] for request in chat_server.seen()]
    assert {body["model"] for body in asked} == {"big"}
    before = len(asked)
    again = compare_models(recipe(tmp_path, eval={"samples": 2, "k": [1, 2], "limit": 3}), [name])
    assert again["models"][0]["reward"] == row["reward"]
    assert len(chat_server.seen()) == before + 1  # is it there? All else was kept
