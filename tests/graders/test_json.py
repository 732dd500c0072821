"""The json grader: what JSON is, schemas in every wrapping, fields compared one by one, gold answers."""

from __future__ import annotations

import gzip
import json
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from posttrain.errors import UserError
from posttrain.graders import BadProblem, Grader, Part, build, check_problem
from posttrain.graders.json import JsonSettings, read_json
from posttrain.graders.json_schema import schema_of
from posttrain.recipe.load import dump_recipe, load_recipe

pytest.importorskip("jsonschema")

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "people": {"type": "integer", "minimum": 1}},
    "required": ["city"],
    "additionalProperties": False,
}
WRAPPED = [
    SCHEMA,
    {"type": "json_schema", "json_schema": {"name": "trip", "schema": SCHEMA, "strict": True}},
    {"type": "json_schema", "name": "trip", "schema": SCHEMA, "strict": True},
    {"name": "trip", "strict": True, "schema": SCHEMA},
]


def grader(folder: Path | None = None, **options: Any) -> Grader:
    return build(JsonSettings.model_validate({"type": "json", **options}), folder or Path())


# What JSON is


@pytest.mark.parametrize(
    ("completion", "passed", "note"),
    [
        ('{"city": "Paris"}', True, ""),
        (' \n{"city": "Paris"}\n', True, ""),
        ('```json\n{"city": "Paris"}\n```', True, ""),
        ('```\n{"city": "Paris"}\n```\n', True, ""),
        ('<think>{"city": 3}</think>{"city": "Paris"}', True, ""),
        ('<think>{"city": "Paris"}', False, "thinking never ended"),
        ('Here: {"city": "Paris"}', False, "not JSON: Expecting value at character 1"),
        ('{"city": "Paris"} Enjoy!', False, "not JSON: Extra data at character 19"),
        ('{"city": "Paris"', False, "not JSON: Expecting ',' delimiter at character 17"),
        ("", False, "not JSON: nothing there"),
        ('{"city": "Paris", "city": "Rome"}', False, "not JSON: the key 'city' stands there twice"),
        ('{"city": NaN}', False, "not JSON: NaN is no JSON"),
        ("[" * 100_000, False, "not JSON: nested too deeply"),
        ("7" * 5000, False, "not JSON: Exceeds the limit"),
        ('{"city": 3}', False, "city: 3 is not of type 'string'"),
        ("{}", False, "'city' is a required property"),
        ('{"city": "Paris", "zip": 1}', False, "Additional properties are not allowed ('zip' was unexpected)"),
        ('["Paris"]', False, "['Paris'] is not of type 'object'"),
    ],
)
@pytest.mark.parametrize("schema", WRAPPED, ids=["bare", "nested", "flat", "named"])
def test_json_of_a_schema(schema: dict[str, Any], completion: str, passed: bool, note: str) -> None:
    grade = grader(schema=schema).grade(completion, {})
    assert (grade.score, grade.passed) == (float(passed), passed)
    assert grade.note.startswith(note) and bool(grade.note) == bool(note)


def test_json_of_no_schema() -> None:
    assert grader().grade("[1, 2]", {}).passed
    assert not grader().grade("one, two", {}).passed


def test_a_fence_is_found_in_no_time() -> None:
    with pytest.raises(ValueError, match="Expecting value"):
        read_json("```\n" + " " * 1_000_000 + "x")


# Schemas


def test_the_wrappings_of_a_schema() -> None:
    assert [schema_of(wrapped) for wrapped in WRAPPED] == [SCHEMA] * 4
    assert schema_of({"type": "json_object"}) == {"type": "object"}
    assert schema_of({"properties": {"schema": {}, "name": {}}}) == {"properties": {"schema": {}, "name": {}}}


def test_the_schema_in_a_file_and_in_the_row(tmp_path: Path) -> None:
    (tmp_path / "trip.json").write_text(json.dumps(WRAPPED[1]))
    in_file, in_row = grader(tmp_path, path="trip.json"), grader(columns={"schema": "response_format"})
    for schema in (*WRAPPED, json.dumps(SCHEMA)):
        for check in (in_file, in_row):
            assert check.grade('{"city": "Paris"}', {"response_format": schema}).passed
            assert not check.grade('{"people": 2}', {"response_format": schema}).passed
    with pytest.raises(BadProblem, match="the problem's schema: not a JSON Schema"):
        in_row.grade("{}", {"response_format": {"type": "objekt"}})
    with pytest.raises(BadProblem, match="the problem's schema"):
        in_row.grade("{}", {"response_format": "CREATE TABLE trips"})


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"type": "objekt"}, "not a JSON Schema: $.type: 'objekt' is not valid"),
        ({"type": "json_schema", "json_schema": {"name": "trip"}}, ""),
        ({"properties": {"a": {"$ref": "#/$defs/trip"}}}, "$ref '#/$defs/trip' leads nowhere inside the schema"),
        ({"$ref": "https://example.com/trip.json"}, "leads nowhere inside the schema"),
        ({"$ref": "trip.json"}, "leads nowhere inside the schema"),
    ],
)
def test_what_is_no_schema_is_refused_when_it_is_built(schema: dict[str, Any], message: str) -> None:
    if not message:  # a name is no keyword: JSON Schema takes it as one that says nothing
        assert grader(schema=schema).grade("3", {}).passed
        return
    with pytest.raises(UserError) as error:
        grader(schema=schema)
    assert message in str(error.value) and error.value.where == "schema"


def test_references_within_the_schema() -> None:
    schema = {"$defs": {"trip": SCHEMA}, "type": "array", "items": {"$ref": "#/$defs/trip"}}
    assert grader(schema=schema).grade('[{"city": "Paris"}]', {}).passed
    assert grader(schema=schema).grade('[{"city": 3}]', {}).note == "[0].city: 3 is not of type 'string'"


def test_a_schema_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text("{")
    for path, message in (("none.json", "cannot read the schema: No such file"), ("broken.json", "not JSON")):
        with pytest.raises(UserError, match=message):
            grader(tmp_path, path=path)


def test_what_does_not_go_together() -> None:
    with pytest.raises(ValidationError, match="give schema or path, not both"):
        grader(schema=SCHEMA, path="trip.json")
    with pytest.raises(ValidationError, match="tolerance goes with `compare: number`"):
        grader(fields={"total": {"tolerance": 1}})


def test_the_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jsonschema", None)
    with pytest.raises(UserError, match=r'pip install "posttrain\[json\]"'):
        grader(schema=SCHEMA)


# Fields

ORDER = {"customer": {"name": "Ada Lovelace"}, "total": 12.5, "tags": ["gift", "red"], "paid": True}


def test_every_key_counts_where_no_fields_are_named() -> None:
    grade = grader().grade('{"total": 12.50, "paid": true, "tags": ["red", "gift"], "note": ""}', {"answer": ORDER})
    assert grade.parts == (
        Part("customer", 0.0, False, "missing"),
        Part("total", 1.0, True),
        Part("tags", 0.0, False, "['red', 'gift'], expected ['gift', 'red']"),
        Part("paid", 1.0, True),
        Part("note", 0.0, False, "not in the answer"),
    )
    assert grade.score == 2 / 5 and not grade.passed
    assert grade.note.startswith("customer: missing; tags: ['red', 'gift']")
    assert grader(extra_keys="ignore").grade(json.dumps(ORDER | {"note": ""}), {"answer": ORDER}).passed
    assert not grader().grade(json.dumps(ORDER | {"note": ""}), {"answer": ORDER}).passed


def test_fields_by_path_way_and_weight() -> None:
    fields = {
        "customer.name": {"compare": "ignore_case", "weight": 3},
        "total": {"compare": "number", "tolerance": 0.1},
        "tags": "set",
        "tags.0": "equals",
    }
    completion = '{"customer": {"name": "ada  LOVELACE "}, "total": "12.55", "tags": ["red", "gift", "red"]}'
    grade = grader(fields=fields).grade(completion, {"answer": ORDER})
    assert [part.passed for part in grade.parts] == [True, True, True, False]
    assert grade.score == 5 / 6
    assert grader(fields={}).grade("{}", {"answer": ORDER}).passed


@pytest.mark.parametrize(
    ("how", "found", "gold", "passed"),
    [
        ("equals", 1.0, 1, True),
        ("equals", True, 1, False),
        ("equals", 0, False, False),
        ("equals", "1", 1, False),
        ("equals", None, None, True),
        ("equals", {"b": [1, 2], "a": 1}, {"a": 1, "b": [1, 2]}, True),
        ("equals", {"a": 1, "b": 1}, {"a": 1}, False),
        ("equals", [1], [1, 2], False),
        ("ignore_case", "PARIS ", "Paris", True),
        ("ignore_case", 3, "Paris", False),
        ("number", "1,234.0", 1234, True),
        ("number", 3, "three quarters of 4", BadProblem),
        ("number", "three", 3, False),
        ("number", True, 1, False),
        ("number", [1], 1, False),
        ("set", [2, 1, 1.0], [1, 2], True),
        ("set", [1], [1, 2], False),
        ("set", "12", [1, 2], False),
        ("set", [1], 1, BadProblem),
        ("ignore_case", "1", 1, BadProblem),
    ],
)
def test_ways_to_compare(how: str, found: Any, gold: Any, passed: Any) -> None:
    check, completion, problem = grader(fields={"a": how}), json.dumps({"a": found}), {"answer": {"a": gold}}
    if passed is BadProblem:
        with pytest.raises(BadProblem, match="the answer's a is no"):
            check.grade(completion, problem)
    else:
        assert check.grade(completion, problem).passed == passed
        check_problem([check], problem)


def test_what_both_leave_out_is_right() -> None:
    check = grader(fields={"city": "equals", "people": "number"})
    assert check.grade('{"city": "Paris"}', {"answer": {"city": "Paris"}}).passed
    assert check.grade('{"city": "Paris", "people": 2}', {"answer": {"city": "Paris"}}).note == (
        "people: not in the answer"
    )


def test_fields_can_be_right_and_the_schema_not() -> None:
    grade = grader(schema=SCHEMA, extra_keys="ignore").grade(
        '{"city": "Paris", "zip": 1}', {"answer": {"city": "Paris"}}
    )
    assert (grade.score, grade.passed) == (1.0, False)
    assert grade.note.startswith("schema: Additional properties")


def test_a_completion_that_is_no_object_has_no_fields() -> None:
    assert grader().grade("[1]", {"answer": {"a": 1}}).note == "not an object"


# Gold answers


@pytest.mark.parametrize("answer", [{"city": "Köln", "people": 2}, '{"city": "Köln", "people": 2}'])
def test_the_gold_answer_round_trips(answer: object) -> None:
    check = grader(schema=SCHEMA)
    assert check.gold({"answer": answer}) == '{"city": "Köln", "people": 2}'
    check_problem([check], {"answer": answer})


def test_gold_answers_that_are_refused() -> None:
    with pytest.raises(BadProblem, match="the answer does not fit the schema: people: 0 is less than the minimum"):
        grader(schema=SCHEMA).gold({"answer": {"city": "Paris", "people": 0}})
    with pytest.raises(BadProblem, match="the answer begins as a JSON object and is none"):
        grader().gold({"answer": '{"city": "Paris"'})
    with pytest.raises(BadProblem, match="`fields` are to be compared, and the problem's `answer` is no object"):
        grader(fields={"city": "equals"}).gold({"answer": "Paris"})
    with pytest.raises(BadProblem, match="does not pass"):
        check_problem([grader()], {"answer": {"a": float("nan")}})


def test_an_answer_that_is_no_object_is_not_compared() -> None:
    assert grader(schema=SCHEMA).gold({"answer": "77"}) is None
    assert grader(schema=SCHEMA).grade('{"city": "Paris"}', {"answer": "77"}).passed


def test_in_a_recipe(tmp_path: Path) -> None:
    """A schema's file is relative to the recipe, and the resolved recipe reads back the same."""
    path = tmp_path / "a.yaml"
    path.write_text(
        "stage: rlvr\nout: runs/a\ndata: {train: [{path: rows.jsonl}]}\ngraders:\n"
        "  - {type: json, name: a, path: trip.json, fields: {city: ignore_case, people: {compare: number}}}\n"
        "  - {type: json, name: b, role: gate, schema: {type: object, minProperties: 1}, fields: {}}\n"
    )
    loaded = load_recipe(path, stage=None)
    assert loaded.recipe.graders[0].path == str(tmp_path / "trip.json")  # type: ignore[attr-defined]
    (tmp_path / "b.yaml").write_text(dump_recipe(loaded.recipe))
    assert load_recipe(tmp_path / "b.yaml", stage=None).recipe == loaded.recipe
    path.write_text(path.read_text().replace("compare: number", "compare: numbr"))
    with pytest.raises(
        UserError, match=r"a\.yaml:5 graders\[0\]\.fields\.people\.compare: must be .*Did you mean 'number'"
    ):
        load_recipe(path, stage=None)


# Real data


def test_restaurant_slots(shared_data: Path) -> None:
    """Every labelled utterance of RESTAURANTS-8K as an object of its slots: its gold answer passes, another's fails."""
    schema = {"type": "object", "additionalProperties": {"type": "string"}}
    check = grader(schema=schema)
    answers = []
    with gzip.open(shared_data / "json" / "restaurant8k_test.jsonl.gz", "rt", encoding="utf-8") as file:
        for row in map(json.loads, file):
            text = row["userInput"]["text"]
            spans = {label["slot"]: label["valueSpan"] for label in row.get("labels", [])}
            answers.append({slot: text[span.get("startIndex", 0) : span["endIndex"]] for slot, span in spans.items()})
    assert len(answers) == 3731
    for answer, other in pairwise(answers):
        check_problem([check], {"answer": answer})
        assert check.grade(json.dumps(other), {"answer": answer}).passed == (answer == other)


def test_published_schemas(shared_data: Path) -> None:
    rft = shared_data / "rft"
    countdown, clause = (grader(rft, path=f"{name}_schema.json") for name in ("countdown_response", "clause_matching"))
    assert countdown.grade('{"expression": "67 + 79", "result": "146"}', {}).passed
    assert not countdown.grade('{"expression": "67 + 79", "result": 146}', {}).passed
    with gzip.open(rft / "clause_matching_validation.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    for row in rows:
        answer = {key: row[key] for key in ("clause_type", "extracted_text")}
        check_problem([clause], {"answer": answer})
        assert clause.grade(json.dumps(answer | {"clause_type": "Other"}), {"answer": answer}).score == 0.5
