"""OpenAI's string check: what each operation means, templates on both sides, and gold answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from posttrain.graders import BadProblem, Grader, build, check_problem
from posttrain.graders.string_check import StringCheckSettings


def grader(operation: str, input: str = "{{sample.output_text}}", reference: str = "{{item.answer}}") -> Grader:
    settings: Any = {"type": "string_check", "operation": operation, "input": input, "reference": reference}
    return build(StringCheckSettings(**settings), Path())


@pytest.mark.parametrize(
    ("operation", "completion", "answer", "passed"),
    [
        ("eq", "Paris", "Paris", True),
        ("eq", " Paris\n", "Paris", True),
        ("eq", "paris", "Paris", False),
        ("eq", "It is Paris", "Paris", False),
        ("eq", "7", 7, True),
        ("eq", "<think>Rome</think>Paris", "Paris", True),
        ("eq", "<think>Paris", "Paris", False),
        ("ne", "Rome", "Paris", True),
        ("ne", "Paris", "Paris", False),
        ("ne", "<think>Rome", "Paris", False),
        ("neq", "Rome", "Paris", True),
        ("neq", "Paris", "Paris", False),
        ("like", "It is Paris.", "Paris", True),
        ("like", "It is paris.", "Paris", False),
        ("like", "Par", "Paris", False),
        ("like", "It is Paris.", "%Paris%", False),
        ("ilike", "It is PARIS.", "Paris", True),
        ("ilike", "It is Rome.", "Paris", False),
    ],
)
def test_operations(operation: str, completion: str, answer: object, passed: bool) -> None:
    check = grader(operation)
    grade = check.grade(completion, {"answer": answer})
    assert (grade.score, grade.passed) == (float(passed), passed)
    check_problem([check], {"answer": answer})


def test_both_sides_are_templates() -> None:
    check = grader("eq", "{{item.unit}}: {{ sample.output_json.value }}", "{{item.unit}}: {{item.truth.value}}")
    problem = {"unit": "m", "truth": {"value": 3}}
    assert check.grade('{"value": 3}', problem).passed
    assert not check.grade('{"value": 4}', problem).passed
    assert check.grade("3 metres", problem).note == "the completion is not JSON"
    assert check.grade('{"volume": 3}', problem).note == "the completion has no sample.output_json.value"


@pytest.mark.parametrize(
    ("input", "reference", "gold"),
    [
        ("{{sample.output_text}}", "{{item.answer}}", "Paris"),
        ("{{item.answer}}", "{{sample.output_text}}", "Paris"),
        ("{{sample.output_json.city.name}}", "{{item.answer}}", '{"city": {"name": "Paris"}}'),
        ("The city: {{sample.output_text}}", "The city: {{item.answer}}", None),
        ("{{sample.output_tools[0].function.name}}", "find_city", None),
        ("{{sample.output_text}}", "{{sample.output_json.city}}", None),
    ],
)
def test_the_gold_answer(input: str, reference: str, gold: str | None) -> None:
    check = grader("eq", input, reference)
    assert check.gold({"answer": "Paris"}) == gold
    assert gold is None or check.grade(gold, {"answer": "Paris"}).passed
    assert grader("ne", input, reference).gold({"answer": "Paris"}) is None


def test_a_row_without_a_variable_is_refused() -> None:
    check = grader("ne", reference="{{item.reference.city}}")
    for refused in (lambda problem: check.grade("Rome", problem), check.gold):
        with pytest.raises(BadProblem, match=r"^\{\{ item\.reference\.city \}\}: the problem has no field 'reference'"):
            refused({"city": "Paris"})


@pytest.mark.parametrize("operation", ["like", "ilike"])
def test_an_empty_reference_is_in_every_text(operation: str) -> None:
    check = grader(operation)
    for refused in (lambda problem: check.grade("anything", problem), check.gold):
        with pytest.raises(BadProblem, match="every text contains"):
            refused({"answer": ""})
    assert grader("eq").grade("", {"answer": ""}).passed


def test_white_space_that_no_completion_keeps_is_named() -> None:
    with pytest.raises(BadProblem, match="'Paris' eq 'Paris' does not hold: the white space differs"):
        check_problem([grader("eq")], {"answer": "Paris "})


def test_what_only_contains_is_cautioned_against() -> None:
    assert [bool(grader(operation).caution) for operation in ("eq", "ne", "like", "ilike")] == [
        False,
        False,
        True,
        True,
    ]


def test_what_is_no_template_or_operation_is_refused() -> None:
    with pytest.raises(ValidationError, match="is not a variable"):
        grader("eq", reference="{{answer}}")
    with pytest.raises(ValidationError, match="operation"):
        grader("starts_with")


def test_openais_grader_of_tool_calls() -> None:
    """From OpenAI's graders guide: the constant is the input, the sample the reference."""
    name = grader("eq", "get_acceptors", "{{sample.output_tools[0].function.name}}")
    arguments = grader("eq", '{"smiles": "{{item.smiles}}"}', "{{sample.output_tools[0].function.arguments}}")
    called = '<tool_call>{"name": "get_acceptors", "arguments": {"smiles": "CCO"}}</tool_call>'
    assert name.grade(called, {"smiles": "CCO"}).passed and arguments.grade(called, {"smiles": "CCO"}).passed
    assert not arguments.grade(called, {"smiles": "CO"}).passed
    assert not name.grade("There are none.", {"smiles": "CCO"}).passed
