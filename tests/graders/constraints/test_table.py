from __future__ import annotations

from importlib import import_module
from inspect import Parameter, signature
from typing import Any

import pytest

from posttrain.graders import BadProblem
from posttrain.graders.constraints.table import FAMILIES, constraints, instruction, instructions


def test_the_families_have_no_id_in_common() -> None:
    families = [import_module(f"posttrain.graders.constraints.{name}").CONSTRAINTS for name in FAMILIES]
    assert len(constraints()) == sum(map(len, families)) >= 54


@pytest.mark.parametrize("name", constraints())
def test_the_check_takes_the_arguments_that_the_table_says(name: str) -> None:
    constraint = constraints()[name]
    (response, *parameters) = signature(constraint.check).parameters.values()
    assert response.name == "response"
    named = {p.name: p.default for p in parameters if p.kind is not Parameter.VAR_KEYWORD}
    assert set(named) == {*constraint.required, *constraint.optional}
    assert {key for key, default in named.items() if default is Parameter.empty} == set(constraint.required)


def test_none_is_an_argument_that_is_not_given() -> None:
    padded = {"num_words": 2, "relation": "at least", "keyword": None, "N": None}
    assert instruction("length_constraints:number_words", padded).kwargs == {"num_words": 2, "relation": "at least"}
    assert instruction("punctuation:no_comma", None).followed("Yes.")


@pytest.mark.parametrize(
    ("name", "kwargs", "message"),
    [
        ("keyword:existence", {"keywords": ["a"]}, "no constraint is called 'keyword:existence'. Did you mean 'keyw"),
        (None, {}, "no constraint is called None"),
        ("keywords:existence", {}, r"keywords:existence needs 'keywords' \(given: nothing\)"),
        ("keywords:existence", {"keywords": None}, "needs 'keywords'"),
        ("keywords:existence", {"keyword": "a"}, r"needs 'keywords' \(given: 'keyword'\)"),
        ("punctuation:no_comma", {"N": 1}, r"has no 'N' \(it has: nothing\)"),
        ("keywords:existence", {"keywords": ["a"], "relatoin": "x"}, "has no 'relatoin'"),
        ("punctuation:no_comma", [], r"its kwargs are \[\], not a mapping"),
    ],
)
def test_what_is_no_constraint_is_refused(name: Any, kwargs: Any, message: str) -> None:
    with pytest.raises(BadProblem, match=message):
        instruction(name, kwargs)


@pytest.mark.parametrize(
    ("ids", "kwargs"), [([], []), (["punctuation:no_comma"], []), ("punctuation:no_comma", [{}]), (["a"], {"a": 1})]
)
def test_lists_that_do_not_fit_are_refused(ids: Any, kwargs: Any) -> None:
    with pytest.raises(BadProblem, match="two lists of one length"):
        instructions(ids, kwargs)


def test_a_blank_response_follows_nothing() -> None:
    assert not instruction("punctuation:no_comma", {}).followed(" \n")
