"""Tool calls in the formats that models write, in the one that OpenAI's graders read."""

from __future__ import annotations

import pytest

from posttrain.graders.tool_calls import parse_tool_calls

PARIS = ("weather", '{"city": "Paris"}')
ROME = ("weather", '{"city": "Rome", "days": 2}')


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ('<tool_call>\n{"name": "weather", "arguments": {"city": "Paris"}}\n</tool_call>', [PARIS]),
        (
            'Let me look.\n<tool_call>{"name": "weather", "arguments": {"city": "Paris"}}</tool_call>\n'
            '<tool_call>{"name": "weather", "arguments": {"city": "Rome", "days": 2}}</tool_call>',
            [PARIS, ROME],
        ),
        ('<tool_call>{"name": "weather", "arguments": {"city": "Paris"}}', [PARIS]),
        ('[TOOL_CALLS][{"name": "weather", "arguments": {"city": "Paris"}}]', [PARIS]),
        ('[{"name": "weather", "arguments": {"city": "Paris"}}]', [PARIS]),
        ('[TOOL_CALLS] [{"name": "weather", "arguments": "{\\"city\\": \\"Paris\\"}"}]</s>', [PARIS]),
        ('{"name": "weather", "parameters": {"city": "Paris"}}', [PARIS]),
        (
            '<|python_tag|>{"name": "weather", "parameters": {"city": "Paris"}}; '
            '{"name": "weather", "parameters": {"city": "Rome", "days": 2}}',
            [PARIS, ROME],
        ),
        ('{"name": "now", "parameters": {}}', [("now", "{}")]),
        ("It is sunny.", []),
        ("", []),
        ('{"city": "Paris"}', []),
        ('{"name": "Bob", "arguments": "none"}', []),
        ("<tool_call>weather(Paris)</tool_call>", []),
        ("[TOOL_CALLS]", []),
        ('[{"name": "weather"}]', []),
        ("[{" * 100_000, []),
    ],
)
def test_calls(text: str, calls: list[tuple[str, str]]) -> None:
    found = parse_tool_calls(text)
    assert [(call["function"]["name"], call["function"]["arguments"]) for call in found] == calls
    assert [call["id"] for call in found] == [f"call_{index}" for index in range(len(calls))]
    assert all(call["type"] == "function" for call in found)


def test_an_id_of_the_models_own_is_kept() -> None:
    (call,) = parse_tool_calls('[TOOL_CALLS][{"name": "now", "arguments": {}, "id": "x9"}]')
    assert call == {"id": "x9", "type": "function", "function": {"name": "now", "arguments": "{}"}}
