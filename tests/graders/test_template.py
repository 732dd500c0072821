"""OpenAI's templates: spaces, dotted paths, values that are no text, and what is missing."""

from __future__ import annotations

import pytest

from posttrain.graders.grade import BadProblem
from posttrain.graders.template import NotInSample, Variable, check_item, openai_sample, parse, render

ITEM = {"answer": "18", "truth": {"date": "2024", "parts": [1, "two"]}, "target": 36}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{item.answer}}", "18"),
        ("{{ item.answer }} of {{item.truth.date}}", "18 of 2024"),
        ("target {{item.target}}, {{item.truth.parts.1}}", "target 36, two"),
        ("{{item.truth}}", '{"date": "2024", "parts": [1, "two"]}'),
        ("{{sample.output_text}}", '{"a": {"b": 2}}'),
        ("{{sample.output_json.a.b}}", "2"),
        ("no variable, { one brace }", "no variable, { one brace }"),
    ],
)
def test_render(template: str, text: str) -> None:
    sample = openai_sample('{"a": {"b": 2}}')
    assert sample is not None
    assert render(template, ITEM, sample) == text


def test_what_is_missing_is_named() -> None:
    with pytest.raises(BadProblem, match=r"no field 'anser'.*Did you mean 'answer'"):
        check_item("{{item.anser}}", ITEM)
    with pytest.raises(BadProblem, match=r"no item\.truth\.year"):
        render("{{item.truth.year}}", ITEM, {})
    with pytest.raises(NotInSample, match="not JSON"):
        render("{{sample.output_json.a}}", ITEM, openai_sample("words") or {})
    check_item("{{sample.output_json.a}} {{item.answer}}", ITEM)


@pytest.mark.parametrize("template", ["{{answer}}", "{{items.answer}}", "{{item}}", "{{ sample.text }}", "{{}}"])
def test_what_is_no_variable(template: str) -> None:
    with pytest.raises(ValueError, match=r"is not a variable|a sample has"):
        parse(template)


def test_thinking_is_no_output() -> None:
    assert openai_sample("<think>1</think>\n 2 ") == {"output_text": "2", "output_json": 2}
    assert openai_sample("<think>1") is None
    assert parse("{{item.a.b}}") == (Variable("item", ("a", "b")),)
