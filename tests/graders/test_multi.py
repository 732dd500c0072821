"""OpenAI's multi grader: its three shapes, scores by formula, errors that stay errors, and places of mistakes."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from posttrain.errors import UserErrors
from posttrain.evals.offline import grade_file, read_grader
from posttrain.graders import GRADERS, BadProblem, Grader, Part, build, check_problem, grade_all, multi
from posttrain.graders.grade import Grade
from posttrain.recipe.load import dump_recipe, load_recipe

pytest.importorskip("rapidfuzz")


def check(name: str, field: str) -> dict[str, Any]:
    variables = {"input": f"{{{{sample.output_json.{field}}}}}", "reference": f"{{{{item.{field}}}}}"}
    return {"type": "string_check", "name": name, "operation": "eq", **variables}


def built(tmp_path: Path, **settings: Any) -> Grader:
    path = tmp_path / "multi.json"
    path.write_text(json.dumps({"type": "multi", "name": "both", **settings}))
    return build(read_grader(path), tmp_path)


TWO = {"a": check("first", "x"), "b": check("second", "y")}
ITEM = {"x": "1", "y": "2"}


@pytest.mark.parametrize(
    ("graders", "formula"),
    [
        (TWO, "0.25 * a + 0.75 * b"),
        ([check("a", "x"), check("b", "y")], "0.25 * a + 0.75 * b"),
        (check("a", "y"), "0.75 * a"),
    ],
)
def test_the_three_shapes(tmp_path: Path, graders: Any, formula: str) -> None:
    grader = built(tmp_path, graders=graders, calculate_output=formula)
    grade = grader.grade('{"x": "0", "y": "2"}', ITEM)
    assert grade.score == 0.75
    assert grade.passed == (len(grade.parts) == 1)


def test_parts_and_notes_by_variable(tmp_path: Path) -> None:
    grader = built(tmp_path, graders=TWO, calculate_output="a + b")
    grade = grader.grade('{"x": "1", "y": "3"}', ITEM)
    wrong = "'3' eq '2' does not hold"
    assert grade == Grade(1.0, False, f"b: {wrong}", "1", "", (Part("a", 1.0, True), Part("b", 0.0, False, wrong)))
    assert grader.grade('{"x": "1", "y": "2"}', ITEM).passed
    assert grader.name == "both"


@pytest.mark.parametrize(("threshold", "passed"), [(0.65, True), (0.75, True), (0.8, False)])
def test_the_threshold_decides_where_there_is_one(tmp_path: Path, threshold: float, passed: bool) -> None:
    grader = built(tmp_path, graders=TWO, calculate_output="0.25 * a + 0.75 * b", pass_threshold=threshold)
    assert grader.grade('{"x": "0", "y": "2"}', ITEM).passed == passed


def test_scores_keep_the_formulas_own_range(tmp_path: Path) -> None:
    grader = built(tmp_path, graders=TWO, calculate_output="5 * a - 10 * (1 - b)")
    grades = grade_all([grader] * 1, ['{"x": "1", "y": "2"}', "no"], [ITEM] * 2)
    assert [grade.score for grade in grades] == [5.0, -10.0]


def test_a_formula_without_a_value_is_a_grader_error(tmp_path: Path) -> None:
    grade = built(tmp_path, graders=TWO, calculate_output="a / b").grade('{"x": "1"}', ITEM)
    assert grade.score is None and not grade.passed
    assert grade.error == "formula_parse_error: division by zero at character 3"
    assert [part.score for part in grade.parts] == [1.0, 0.0]


def test_a_failed_grader_fails_the_whole(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("def grade(sample, item):\n    return item['points'] / 2\n")
    graders = {**TWO, "own": {"type": "python", "path": "own.py:grade"}}
    grader = built(tmp_path, graders=graders, calculate_output="a + b + own")
    assert grader.grade('{"x": "1", "y": "2"}', {**ITEM, "points": 1}).score == 2.5
    grade = grader.grade('{"x": "1", "y": "2"}', ITEM)
    assert grade.score is None and grade.error.startswith("python_grader_runtime_error: own: KeyError: 'points'")
    assert [bool(part.error) for part in grade.parts] == [False, False, True]


def test_thinking_that_never_ended_is_a_zero(tmp_path: Path) -> None:
    grade = built(tmp_path, graders=TWO, calculate_output="a + b").grade('<think>{"x": "1", "y": "2"}', ITEM)
    assert (grade.score, grade.note) == (0.0, "a: thinking never ended; b: thinking never ended")


def test_every_row_is_tried_on_every_grader(tmp_path: Path) -> None:
    grader = built(tmp_path, graders=TWO, calculate_output="a + b")
    check_problem([grader], ITEM)
    assert grader.gold(ITEM) is None  # a completion for x, another for y
    with pytest.raises(BadProblem, match=r"^b: \{\{ item\.y \}\}: the problem has no field 'y'"):
        check_problem([grader], {"x": "1"})


def test_a_gold_answer_that_all_agree_on_must_pass(tmp_path: Path) -> None:
    same = {"a": check("a", "x"), "b": check("b", "x")}
    assert built(tmp_path, graders=same, calculate_output="a").gold(ITEM) == '{"x": "1"}'
    unreachable = built(tmp_path, graders=same, calculate_output="a / 2", pass_threshold=0.9)
    with pytest.raises(BadProblem, match="the gold answer does not pass the grader 'both'"):
        check_problem([unreachable], ITEM)


@pytest.mark.parametrize(
    ("settings", "messages"),
    [
        (
            {"graders": TWO, "calculate_output": "a + c"},
            ["3 calculate_output: no grader 'c' at character 5. (graders: a, b)"],
        ),
        ({"graders": TWO, "calculate_output": "max(a, b"}, ["3 calculate_output: the ( at character 4 is not closed"]),
        ({"graders": {}, "calculate_output": "1"}, ["2 graders: a multi grader needs at least one grader"]),
        ({"graders": [check("", "x")], "calculate_output": "1"}, ["2 graders: '' cannot be a variable"]),
        ({"graders": [check("a", "x")] * 2, "calculate_output": "a"}, ["2 graders: two graders are called 'a'"]),
        ({"graders": {"max": check("a", "x")}, "calculate_output": "1"}, ["2 graders.max: 'max' cannot be a variable"]),
        ({"graders": {"a-b": check("a", "x")}, "calculate_output": "1"}, ["2 graders.a-b: 'a-b' cannot be a variable"]),
        (
            {"graders": {"a": {**check("a", "x"), "weight": 2}}, "calculate_output": "a"},
            ["2 graders: a.weight has no meaning here"],
        ),
        (
            {"graders": {"a": {**check("a", "x"), "input": "{{x}}", "weigth": 1}}, "calculate_output": "a"},
            ["2 graders.a.input: '{{x}}' is not a variable", "2 graders.a.weigth: unknown key. Did you mean"],
        ),
        (
            {"graders": [check("a", "x"), {"type": "string_chek"}], "calculate_output": "a"},
            ["2 graders[1].type: must be 'number'"],
        ),
        (
            {"graders": {"type": "string_check", "name": "a", "operation": "eq"}, "calculate_output": "a"},
            ["2 graders.input: missing", "2 graders.reference: missing"],
        ),
        (
            {"graders": {"a": {"type": "multi", "graders": TWO, "calculate_output": "a"}}, "calculate_output": "a"},
            ["2 graders.a.type: must be"],
        ),
        ({"graders": 3, "calculate_output": "a"}, ["2 graders: must be a mapping"]),
        ({"graders": {"a": 3}, "calculate_output": "a"}, ["2 graders.a: must be a mapping"]),
    ],
)
def test_mistakes_have_their_place(tmp_path: Path, settings: dict[str, Any], messages: list[str]) -> None:
    lines = [f'"{key}": {json.dumps(value)}' for key, value in settings.items()]
    path = tmp_path / "multi.json"
    path.write_text('{"type": "multi",\n' + ",\n".join(lines) + "}")
    with pytest.raises(UserErrors) as error:
        read_grader(path)
    said = [str(one).removeprefix(f"{path}:") for one in error.value.errors]
    assert len(said) == len(messages), said
    assert all(one.startswith(message) for one, message in zip(said, messages, strict=True)), said


def test_in_a_recipe(tmp_path: Path) -> None:
    """Its places are the recipe's, the paths inside it become absolute, and the resolved recipe is the same."""
    recipe = (
        "stage: rlvr\nout: runs/a\ndata: {train: [{path: rows.jsonl}]}\ngraders:\n  - type: multi\n"
        "    calculate_output: own\n    graders:\n      own:\n        type: python\n        path: own.py:grade\n"
    )
    path = tmp_path / "a.yaml"
    path.write_text(recipe)
    loaded = load_recipe(path, stage=None)
    (settings,) = loaded.recipe.graders
    assert settings.graders["own"].path == f"{tmp_path}/own.py:grade"  # type: ignore[attr-defined]
    (tmp_path / "b.yaml").write_text(dump_recipe(loaded.recipe))
    assert load_recipe(tmp_path / "b.yaml", stage=None).recipe == loaded.recipe
    path.write_text(recipe.replace("path:", "pth:"))
    with pytest.raises(UserErrors, match=r"a\.yaml:10 graders\[0\]\.graders\.own\.pth: unknown key"):
        load_recipe(path, stage=None)


def test_a_grader_that_answers_one_at_a_time_stays_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Beside one that answers eight at once; seen from inside the two."""
    now, most, lock = {"one": 0, "many": 0}, {"one": 0, "many": 0}, threading.Lock()

    def watched(name: str, parallel: int) -> Grader:
        def grade(completion: str, problem: Mapping[str, Any]) -> Grade:
            with lock:
                now[name] += 1
                most[name] = max(most[name], now[name])
            time.sleep(0.01)
            with lock:
                now[name] -= 1
            return Grade(1.0, True)

        return Grader(name, 1.0, grade, lambda problem: None, parallel)

    inner = iter([watched("one", 1), watched("many", 8)])
    monkeypatch.setattr("posttrain.graders.table.build", lambda settings, base_dir: next(inner))
    grader = multi.make(
        multi.MultiSettings.model_validate({"type": "multi", "graders": TWO, "calculate_output": "a + b"}), tmp_path
    )
    assert grader.parallel == 8
    assert all(grade.score == 2.0 for grade in grade_all([grader], [""] * 16, [ITEM] * 16))
    assert most["one"] == 1 and most["many"] > 1


# Published files


def test_clause_matching_as_published(shared_data: Path, tmp_path: Path) -> None:
    """The gold answer of each row gets 1; the wrong type half; a text that is no JSON nothing."""
    with gzip.open(shared_data / "rft" / "clause_matching_validation.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    with (tmp_path / "rows.jsonl").open("w", encoding="utf-8") as out:
        for row in rows:
            right = {key: row[key] for key in ("clause_type", "extracted_text")}
            for completion in (json.dumps(right), json.dumps(right | {"clause_type": "Other"}), "no clause"):
                out.write(json.dumps(row | {"completion": completion}) + "\n")
    document = grade_file(shared_data / "rft" / "clause_matching_multi_grader.json", tmp_path / "rows.jsonl")
    assert len(rows) == 40
    assert [row["score"] for row in document["rows"]] == [1.0, 0.5, 0.0] * 40
    assert [row["passed"] for row in document["rows"]] == [True, False, False] * 40
    assert document["errors"] == 0


@pytest.mark.parametrize(
    "name",
    [
        "clause_matching_multi_grader.json",
        "clause_matching_model_grader.json",
        "countdown_score_model_grader.json",
        "zava_grader.json",
    ],
)
def test_published_graders_load_alone_and_inside_a_multi(shared_data: Path, tmp_path: Path, name: str) -> None:
    written = json.loads((shared_data / "rft" / name).read_text(encoding="utf-8"))
    if written["type"] not in GRADERS:
        pytest.skip(f"there is no grader {written['type']}")
    read_grader(shared_data / "rft" / name)
    if written["type"] != "multi":
        path = tmp_path / "multi.json"
        path.write_text(json.dumps({"type": "multi", "graders": {"inner": written}, "calculate_output": "inner / 5"}))
        read_grader(path)
