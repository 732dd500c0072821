from __future__ import annotations

import json
from typing import Any

import pytest

from posttrain.graders import BadProblem
from posttrain.graders.constraints.ground_truth import constraints_of_ground_truth

IDS = ["keywords:word_once", "punctuation:no_comma", "detectable_format:title"]
KWARGS = [{"keyword": "rain", "N": None}, None, {"N": None}]


@pytest.mark.parametrize(
    "element",
    [
        {"instruction_id": IDS, "kwargs": KWARGS},
        json.dumps({"instruction_id": IDS, "kwargs": KWARGS}),  # a text of JSON in the literal
    ],
)
def test_a_python_literal_is_read(element: Any) -> None:
    found = constraints_of_ground_truth(repr([element]))
    assert [one.id for one in found] == IDS
    assert [one.kwargs for one in found] == [{"keyword": "rain"}, {}, {}]
    assert constraints_of_ground_truth(repr(element) if isinstance(element, dict) else repr([element])) == found


@pytest.mark.parametrize(
    "text",
    [
        "",
        "42",
        "[]",
        "[{'instruction_id': ['punctuation:no_comma']}]",
        "[{'instruction_id': ['punctuation:no_comma'], 'kwargs': []}]",
        "[{'instruction_id': ['no:such'], 'kwargs': [None]}]",
        "[{'instruction_id': ['keywords:word_once'], 'kwargs': [{}]}]",
        "['not JSON']",
        "[" * 10_000,
        "__import__('os').getcwd()",
        None,
    ],
)
def test_any_other_text_is_refused(text: Any) -> None:
    with pytest.raises(BadProblem):
        constraints_of_ground_truth(text)
