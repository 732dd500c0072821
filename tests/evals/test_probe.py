"""`posttrain grade --probe`: graders that are fit, and each way in which one is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from posttrain.cli import _run
from posttrain.evals.probe import _range, is_judged, probe_file, render
from posttrain.evals.probe_answers import MASTER_KEYS
from posttrain.evals.trials import Trial, Trials
from posttrain.graders.grade import Grade, Grader, GraderSettings

SUMS = [{"prompt": f"What is {n} + 100 - 1?", "answer": n + 99} for n in range(20)]
COLOURS = [{"prompt": f"Colour {n}?", "answer": ("red", "green", "blue")[n % 3]} for n in range(12)]


def probed(folder: Path, grader: str, rows: list[Any], limit: int | None = None) -> dict[str, Any]:
    (folder / "grader.yaml").write_text(grader)
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return probe_file(folder / "grader.yaml", folder / "rows.jsonl", limit)


def found(document: dict[str, Any], probe: str) -> dict[str, Any]:
    (finding,) = (finding for finding in document["findings"] if finding["probe"] == probe)
    return finding


def python_grader(folder: Path, body: str) -> str:
    (folder / "mine.py").write_text(f"def grade(completion, problem):\n    {body}\n")
    return "type: python\npath: mine.py:grade\n"


def test_a_grader_that_is_fit(tmp_path: Path) -> None:
    document = probed(tmp_path, "type: number", SUMS)
    assert {finding["probe"]: finding["verdict"] for finding in document["findings"]} == {
        "fields": "pass",
        "gold": "pass",
        "empty answer": "pass",
        "shuffled gold": "pass",
        "prompt echo": "pass",
        "all labels": "pass",
        "master keys": "skip",
        "constant gold": "pass",
        "range": "pass",
        "grader errors": "pass",
        "time": "pass",
    }
    assert (document["verdict"], document["rows"], document["tried"]) == ("pass", 20, 20)
    assert found(document, "all labels")["tried"] == 40  # by lines and by commas
    assert 0 < document["seconds"]["p50"] <= document["seconds"]["p95"] < 1
    assert json.loads(json.dumps(document))["findings"][0]["examples"] == []
    assert render(document).splitlines()[-1] == "pass: tried on 20 of 20 rows"


def test_the_completion_of_a_row_is_not_looked_at(tmp_path: Path) -> None:
    rows = [{**row, "completion": 5} for row in SUMS]
    assert probed(tmp_path, "type: number", rows)["verdict"] == "pass"


def test_rows_that_cannot_be_graded(tmp_path: Path) -> None:
    document = probed(tmp_path, "type: number", [*SUMS, {"prompt": "?"}, {"prompt": "?", "answer": "many"}])
    finding = found(document, "fields")
    assert (finding["verdict"], document["verdict"]) == ("fail", "fail")
    assert finding["message"] == "2 of 22 rows cannot be graded"
    assert [example.partition("rows.jsonl:")[2] for example in finding["examples"]] == [
        "21: the problem has no field 'answer' (fields: prompt).",
        "22: the answer is not a number: 'many'",
    ]
    assert found(document, "gold")["tried"] == 20


def test_rows_that_are_refused_only_when_they_are_graded(tmp_path: Path) -> None:
    document = probed(tmp_path, "type: pattern\npattern: '#(?P<answer>.)'\ncolumns: {answer: key}", [{"key": None}])
    assert found(document, "fields")["verdict"] == "fail"
    verdicts = {finding["verdict"] for finding in document["findings"] if finding["probe"] != "grader errors"}
    assert verdicts == {"fail", "skip"}


def test_contains_is_opened_by_all_labels_at_once(tmp_path: Path) -> None:
    document = probed(tmp_path, "type: string\nmode: contains", COLOURS)
    assert [finding["probe"] for finding in document["findings"] if finding["verdict"] == "fail"] == ["all labels"]
    assert found(document, "all labels")["passed"] == 24
    assert found(document, "all labels")["examples"][1].endswith("rows.jsonl:1: 'blue, green, red'")
    assert "… (--json has more)" in render(document)
    assert probed(tmp_path, "type: string", COLOURS)["verdict"] == "pass"


def test_a_prompt_that_holds_the_answer(tmp_path: Path) -> None:
    rows = [{"messages": [{"role": "user", "content": f"Say {n}"}], "answer": n} for n in range(10)]
    document = probed(tmp_path, "type: number", rows)
    assert found(document, "prompt echo")["verdict"] == "fail"
    assert found(document, "prompt echo")["message"] == "10 of 10 passed: saying the prompt back is paid"


@pytest.mark.parametrize(
    ("body", "failed"),
    [
        ("return 1.0", {"empty answer", "shuffled gold", "prompt echo", "all labels"}),
        ("return len(completion) < 5", {"empty answer", "shuffled gold"}),
        ("return float('nan')", {"grader errors"}),
        ("return 1 / len(completion)", {"grader errors"}),  # an empty answer is a division by zero, 1 try in 6
    ],
)
def test_python_graders_that_can_be_had(tmp_path: Path, body: str, failed: set[str]) -> None:
    document = probed(tmp_path, python_grader(tmp_path, body), COLOURS)
    assert {finding["probe"] for finding in document["findings"] if finding["verdict"] == "fail"} == failed


def test_the_rows_own_answer_stands_in_for_a_gold_one(tmp_path: Path) -> None:
    grader = python_grader(tmp_path, "return completion == 'is ' + problem['answer']")
    document = probed(tmp_path, grader, COLOURS)
    finding = found(document, "gold")
    assert (finding["verdict"], finding["passed"], finding["tried"]) == ("warn", 0, 12)
    assert finding["examples"][0].endswith("rows.jsonl:1: no reason is given")
    assert document["verdict"] == "warn"


def test_part_marks_are_shown(tmp_path: Path) -> None:
    grader = python_grader(tmp_path, "return 0.5 if completion else 0.25")
    assert found(probed(tmp_path, grader, COLOURS), "empty answer")["mean"] == 0.25
    assert found(probed(tmp_path, grader, COLOURS), "shuffled gold")["message"] == "0 of 12 passed, mean score 0.50"


def test_one_answer_to_everything(tmp_path: Path) -> None:
    document = probed(tmp_path, "type: string", [{"answer": "yes"}, {"answer": "yes"}])
    assert found(document, "constant gold")["verdict"] == "warn"
    assert found(document, "shuffled gold")["verdict"] == "skip"
    assert found(document, "prompt echo")["verdict"] == "skip"
    assert document["verdict"] == "warn"


def test_a_grader_that_is_not_paid_only_warns(tmp_path: Path) -> None:
    assert found(probed(tmp_path, "type: length\nat_most: 5", COLOURS), "empty answer")["verdict"] == "warn"
    paid = probed(tmp_path, "type: length\nat_most: 5\nrole: score", COLOURS)
    assert found(paid, "empty answer")["verdict"] == "fail"


def test_a_limit(tmp_path: Path) -> None:
    document = probed(tmp_path, "type: number", SUMS, limit=5)
    assert [found(document, name)["tried"] for name in ("gold", "empty answer", "all labels")] == [5, 5, 10]
    assert render(document).splitlines()[-1] == "pass: tried on 5 of 20 rows"
    many = [{"answer": n} for n in range(150)]
    document = probed(tmp_path, "type: number", many)
    assert [found(document, name)["tried"] for name in ("gold", "empty answer", "all labels")] == [150, 100, 0]


@pytest.mark.parametrize(
    ("score", "declared", "verdict"),
    [(0.5, None, "pass"), (5.0, None, "warn"), (5.0, [0, 5], "pass"), (6.0, [0, 5], "fail")],
)
def test_scores_out_of_range(score: float, declared: list[float] | None, verdict: str) -> None:
    grader = Grader("any", 1.0, lambda completion, problem: Grade(score, False), lambda problem: None)
    trials = Trials(grader, lambda: None)
    trials.run("empty answer", [Trial("rows.jsonl:1", {}, "")])
    assert _range(trials, declared).verdict == verdict


class Several(GraderSettings):
    """Settings in the shape of a grader that holds others."""

    graders: dict[str, GraderSettings]


def test_a_judge_is_known_by_its_type() -> None:
    number, judge = GraderSettings(type="number"), GraderSettings(type="label_model")
    assert is_judged(GraderSettings(type="score_model"))
    assert is_judged(Several(type="multi", graders={"a": number, "b": judge}))
    assert not is_judged(Several(type="multi", graders={"a": number}))


def test_a_master_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A function stands in for the judge: it is opened by one key of ten, always."""
    monkeypatch.setattr("posttrain.evals.probe.JUDGES", {"python"})
    body = "return completion in (problem['answer'], 'Solution')"
    document = probed(tmp_path, python_grader(tmp_path, body), COLOURS)
    finding = found(document, "master keys")
    assert (finding["verdict"], finding["tried"], finding["passed"]) == ("fail", 10 * len(MASTER_KEYS), 10)
    assert finding["message"].startswith("10 of 100 passed, 100% of 'Solution': ")


def test_the_command(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    probed(tmp_path, "type: string\nmode: contains", COLOURS)
    arguments = ["grade", str(tmp_path / "grader.yaml"), str(tmp_path / "rows.jsonl"), "--probe"]
    assert _run(arguments, debug=False) == 3
    out, err = capfd.readouterr()
    assert "fail  all labels" in out
    assert "grader.yaml: not fit to pay a reward: all labels" in err
    assert _run([*arguments, "--json"], debug=False) == 3
    assert json.loads(capfd.readouterr()[0])["verdict"] == "fail"
    (tmp_path / "grader.yaml").write_text("type: string")
    assert _run(arguments, debug=False) == 0


@pytest.mark.parametrize(
    ("file", "grader", "verdict"),
    [
        ("math/gsm8k_test.jsonl.gz", "type: number", "pass"),
        ("rft/clause_matching_validation.jsonl.gz", "type: string\ncolumns: {answer: reference_answer}", "fail"),
    ],
)
def test_real_rows(shared_data: Path, tmp_path: Path, file: str, grader: str, verdict: str) -> None:
    (tmp_path / "grader.yaml").write_text(grader)
    document = probe_file(tmp_path / "grader.yaml", shared_data / file, 200)
    assert document["verdict"] == verdict, render(document)
