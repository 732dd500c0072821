"""What the rows of code problems say: tests of what a program defines, or cases of standard input and output."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from posttrain.graders.grade import BadProblem, field, shortened
from posttrain.sandbox.inside.asserts import has_assert, reporting
from posttrain.sandbox.inside.tests import AS_JSON

_GOLD = ("canonical_solution", "code", "solution")


class Tests(NamedTuple):
    """Tests of what a program defines."""

    texts: tuple[str, ...]
    """Python, run one after the other; every assert statement in it is a test."""
    names: tuple[str, ...]
    """The text of each assert, in order."""
    entry_point: str = ""
    """The function that is tested, where the problem says."""
    stub: str = ""
    """The prompt where it is Python: a program goes on from it, and tests use what it defines."""


class Case(NamedTuple):
    """What a program is given on standard input, and what it must print."""

    input: str
    output: str


def read_problem(problem: Mapping[str, Any]) -> Tests | list[Case]:
    """Return the problem's tests or cases; raises BadProblem.

    They are in `tests`, `cases`, MBPP's `test_list` or HumanEval's `test`, the first that there is.
    """
    entry_point = str(problem.get("entry_point") or "")
    prompt = problem.get("prompt")
    stub = prompt if isinstance(prompt, str) and entry_point and defines(prompt, entry_point) else ""
    if problem.get("tests") is not None:
        return _tests("tests", tuple(_texts(problem["tests"], "tests")), entry_point, stub)
    if problem.get("cases") is not None:
        cases = [_case(case) for case in _listed(problem["cases"], "cases")]
        if not entry_point:
            return [
                Case(*(_text(value, name) for name, value in zip(Case._fields, case, strict=True))) for case in cases
            ]
        calls = [_call_test(arguments, output) for arguments, output in cases]
        return _tests("cases", tuple(calls), entry_point, stub)
    if problem.get("test_list") is not None:
        # After the program: two of MBPP's need a class that the program defines.
        setup = str(problem.get("test_setup_code") or "")
        return _tests("test_list", (setup, *_texts(problem["test_list"], "test_list")), entry_point, stub)
    if problem.get("test") is not None:
        field(problem, "entry_point")
        return _tests("test", (str(problem["test"]),), entry_point, stub)
    field(problem, "tests")
    raise AssertionError("the problem has tests")


def gold_program(problem: Mapping[str, Any]) -> str | None:
    """Return the reference program of a row that has one."""
    return next((problem[name] for name in _GOLD if isinstance(problem.get(name), str)), None)


def defines(text: str, name: str) -> bool:
    """Tell whether Python text defines a function or a class of this name, by a look at its lines."""
    return re.search(rf"^(?:async\s+def|def|class)\s+{re.escape(name)}\b", text, re.MULTILINE) is not None


@lru_cache(maxsize=4096)
def _tests(where: str, texts: tuple[str, ...], entry_point: str, stub: str) -> Tests:
    """Return the tests with a call of each test function added, checked to be Python that asserts something."""
    try:
        ast.parse(stub)
    except (SyntaxError, ValueError):
        stub = ""
    complete: list[str] = []
    trees = []
    for number, text in enumerate(texts):
        tree = _parsed(text, f"{where}[{number}]" if len(texts) > 1 else where)
        calls = _calls(tree, entry_point)
        complete += [text, *calls]
        trees += [tree, *map(ast.parse, calls)]
    if not any(map(has_assert, trees)):
        raise BadProblem(f"`{where}` has no assert statement, so that every program would pass")
    return Tests(tuple(complete), tuple(reporting(trees)), entry_point, stub)


def _parsed(text: str, where: str) -> ast.Module:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise BadProblem(f"`{where}` is not Python: {error}: {shortened(text)!r}") from None


def _calls(tree: ast.Module, entry_point: str) -> list[str]:
    """Return the calls of the test functions that the tests define and do not call."""
    called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    calls = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name not in called:
            if node.name == "check" and entry_point:
                calls.append("check(candidate)")
            elif node.name.startswith("test") and not node.args.args:
                calls.append(f"{node.name}()")
    return calls


def _call_test(arguments: Any, output: Any) -> str:
    if not isinstance(arguments, list):
        raise BadProblem(f"with an entry_point a case's `input` is the list of its arguments, not {arguments!r:.80}")
    return f"assert {AS_JSON}(candidate(*{arguments!r})) == {output!r}"


def _case(case: Any) -> tuple[Any, Any]:
    if not isinstance(case, dict) or not {"input", "output"} <= case.keys():
        raise BadProblem(f"a case is {{input, output}}, not {shortened(repr(case))}")
    return case["input"], case["output"]


def _texts(value: Any, where: str) -> list[str]:
    if isinstance(value, str) and not value.lstrip().startswith("["):
        return [value]
    return [_text(item, where) for item in _listed(value, where)]


def _listed(value: Any, where: str) -> list[Any]:
    """Return a list, also where a row holds it as JSON text."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise BadProblem(f"`{where}` is neither a list nor one in JSON: {shortened(value)!r}") from None
    if not isinstance(value, list) or not value:
        raise BadProblem(f"`{where}` must be a list with something in it, not {shortened(repr(value))}")
    return value


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise BadProblem(f"`{where}` must be text, not {shortened(repr(value))}")
    return value
