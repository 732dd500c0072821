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
        ("{{item.truth.parts[1]}}", "two"),
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
    with pytest.raises(BadProblem, match=r"^\{\{ item\.reference\.date \}\}: the problem has no field 'reference'"):
        check_item("{{item.reference.date}}", ITEM)
    with pytest.raises(BadProblem, match=r"no item\.truth\.year"):
        render("{{item.truth.year}}", ITEM, {})
    with pytest.raises(NotInSample, match="not JSON"):
        render("{{sample.output_json.a}}", ITEM, openai_sample("words") or {})
    check_item("{{sample.output_json.a}} {{item.answer}}", ITEM)


@pytest.mark.parametrize(
    "template", ["{{answer}}", "{{items.answer}}", "{{item}}", "{{item[0]}}", "{{ sample.text }}", "{{}}"]
)
def test_what_is_no_variable(template: str) -> None:
    with pytest.raises(ValueError, match=r"is not a variable|a sample has"):
        parse(template)


@pytest.mark.parametrize("template", ["{{ item.answer }", "a {{sample.output_text", "{{ item.answer } }"])
def test_a_variable_must_be_closed(template: str) -> None:
    with pytest.raises(ValueError, match="is not closed"):
        parse(template)


def test_thinking_is_no_output() -> None:
    assert openai_sample("<think>1</think>\n 2 ") == {
        "output_text": "2",
        "output_json": 2,
        "output_tools": [],
        "choices": [{"message": {"role": "assistant", "content": "2", "tool_calls": []}}],
    }
    assert openai_sample("<think>1") is None
    assert parse("{{item.a.b}}") == (Variable("item", ("a", "b")),)


def test_tool_calls_are_a_list_in_the_sample() -> None:
    sample = openai_sample('<tool_call>{"name": "weather", "arguments": {"city": "Paris"}}</tool_call>')
    assert sample is not None
    name, arguments = "{{sample.output_tools[0].function.name}}", "{{ sample.output_tools.0.function.arguments }}"
    assert render(name, {}, sample) == "weather"
    assert render(arguments, {}, sample) == '{"city": "Paris"}'
    assert render("{{sample.choices[0].message.tool_calls[0].function.name}}", {}, sample) == "weather"
    with pytest.raises(NotInSample, match=r"no sample\.output_tools\.1"):
        render("{{sample.output_tools[1].function.name}}", {}, sample)
