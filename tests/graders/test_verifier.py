"""AI2's verifiers by name: what they accept, what they refuse, and rows that cannot be graded."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest

from posttrain.errors import UserError
from posttrain.graders import GRADERS, BadProblem, build, check_problem
from posttrain.graders.ai2 import DELEGATED, REFUSED, TEXTS
from posttrain.graders.verifier import VerifierSettings
from posttrain.recipe.check import check_recipe

needs_math = pytest.mark.skipif(importlib.util.find_spec("math_verify") is None, reason="math-verify is not installed")


def graded(completion: str, dataset: Any, truth: Any, **options: Any):
    grader = build(VerifierSettings(type="verifier", **options), Path())
    return grader.grade(completion, {"dataset": dataset, "ground_truth": truth})


CASES = [
    ("gsm8k", "18", "It is 9 + 9 = 18.", 1.0),
    ("gsm8k", "18", "The answer is 18.0", 1.0),  # AI2 compares the texts "18.0" and "18"
    ("GSM8K", "1,234", "#### 1234", 1.0),
    ("gsm8k", "18", "<think>18", 0.0),
    ("gsm8k", "18", "The answer is 18. The answer is 20.", 0.0),
    ("flan", "Paris", "So. The answer is: paris.", 1.0),
    ("flan", "Paris", "paris", 1.0),
    ("flan", "Paris", "The answer is: Rome", 0.0),
    ("flan", "Paris", "The answer is: Rome\nThe answer is: Paris", 0.0),
    ("flan", "Paris", "The answer is: Paris\nNo doubt. The answer is: Paris", 1.0),
    ("string_matcher", "the Seine", "<answer>Seine</answer>", 1.0),
    ("string_matcher", "Seine", "Seine", 0.0),
    ("string_matcher", "Seine", "<answer>Seine", 0.0),
    ("string_matcher", "Seine", "<answer>Rhine</answer> or <answer>Seine</answer>", 0.0),
    ("puzzle", "x=1, y=2", "<think>hm</think><answer>X=1 Y=2</answer>", 1.0),
    ("puzzle", "x=1, y=2", "It is x=1, y=2", 0.0),
    ("string_f1", "big cat", "a cat", 2 / 3),
    ("string_f1", ["dog", "the cat"], "Cat", 1.0),
    ("string_f1", "cat", "", 0.0),
    ("re_search", "Paris", "<finish>Paris</finish>", 1.0),
    ("re_search", '["Lutetia", "Paris"]', "<finish> paris </finish>", 1.0),
    ("re_search", "Paris", "Paris", 0.0),
    ("re_search_f1", "big cat", "<finish>a cat</finish>", 2 / 3),
    ("re_search_f1", "cat", "<finish>dog</finish>", 0.0),  # AI2 pays 0.1 for the tags
]


@pytest.mark.parametrize(("dataset", "truth", "completion", "score"), CASES)
def test_verifiers(dataset: str, truth: Any, completion: str, score: float) -> None:
    grade = graded(completion, dataset, truth)
    assert (grade.score, grade.passed) == (pytest.approx(score), score == 1)
    check_problem([build(VerifierSettings(type="verifier"), Path())], {"dataset": dataset, "ground_truth": truth})


MINERVA = "Final Answer: The final answer is {}. I hope it is correct."


@needs_math
@pytest.mark.parametrize(
    ("dataset", "completion", "passed"),
    [
        ("MATH", r"\boxed{0.5}", True),
        ("math", r"\boxed{2} " + MINERVA.format(r"$\frac{1}{2}$"), False),  # AI2 takes either
        ("strict_math", "So.\n" + MINERVA.format(r"$\frac{1}{2}$"), True),
        ("strict_math", "Final Answer: The final answer is 0.5", True),
        ("strict_math", r"\boxed{2} " + MINERVA.format("0.5"), True),
        ("strict_math", r"\boxed{0.5}", False),
        ("strict_math", MINERVA.format("2") + "\n" + MINERVA.format("0.5"), False),
        ("strict_math", "<think>" + MINERVA.format("0.5"), False),
    ],
)
def test_math(dataset: str, completion: str, passed: bool) -> None:
    assert graded(completion, dataset, r"\frac{1}{2}").passed == passed
    check_problem(
        [build(VerifierSettings(type="verifier"), Path())], {"dataset": dataset, "ground_truth": r"\frac{1}{2}"}
    )


@pytest.mark.skipif("instruction" not in GRADERS, reason="the grader `instruction` is not there")
def test_instructions() -> None:
    pair = {
        "instruction_id": ["punctuation:no_comma", "change_case:english_lowercase"],
        "kwargs": [None, {"relation": None}],
    }
    truth = repr([pair])
    assert graded("all small letters without the sign", "ifeval", truth).score == 1.0
    assert graded("All small letters but one", "ifeval", truth).score == 0.5
    assert graded("", "ifeval", truth).score == 0.0
    assert graded("<think>No commas,</think><answer>none of these words is big</answer>", "ifeval", truth).passed
    function = json.dumps({"func_name": "validate_no_commas", "N": None})
    for name in ("ifeval", "ifeval_old"):
        assert graded("<think>One, two</think>none", name, function).passed
        assert graded("some, commas", name, function).score == 0.0
        assert graded("", name, function).score == 0.0


@pytest.mark.skipif("code" not in GRADERS, reason="the grader `code` is not there")
def test_code() -> None:
    program = "```python\ndef double(x):\n    return 2 * x\n```"
    assert graded(program, "code", json.dumps(["assert double(2) == 4"])).passed
    half = graded(program, "code", ["assert double(2) == 4", "assert double(2) == 5"])
    assert (half.score, half.passed) == (0.5, False)
    assert graded("```python\nprint(2 * int(input()))\n```", "code_stdio", [{"input": "3\n", "output": "6\n"}]).passed


def test_several_verifiers_are_averaged_and_all_must_pass() -> None:
    grade = graded("<answer>18</answer>", ["gsm8k", "string_matcher", "string_f1"], ["18", "18", ["18 apples"]])
    assert (grade.score, grade.passed) == (pytest.approx((1 + 1 + 2 / 3) / 3), False)
    assert [(part.name, part.passed) for part in grade.parts] == [
        ("gsm8k", True),
        ("string_matcher", True),
        ("string_f1", False),
    ]
    assert graded("<answer>18</answer>", ["gsm8k", "string_matcher"], ["18", "18"]).passed
    check_problem(
        [build(VerifierSettings(type="verifier"), Path())], {"dataset": ["gsm8k", "flan"], "ground_truth": ["18", "x"]}
    )


@pytest.mark.parametrize(
    ("dataset", "truth", "message"),
    [
        ("gsm9k", "18", "unknown verifier 'gsm9k'. Did you mean 'gsm8k'?"),
        ("max_length", "100", "counts tokens"),
        ("general-quality", "x", "type: score_model"),
        ("general-qualty", "x", "Did you mean 'general-quality'?"),
        ("rubric", "{}", "type: score_model"),
        ("passthrough", "x", "grades nothing"),
        ("code", "eJwFwYEAAAAAgKD7U5c=", "pickled tests are not read"),
        ("code", "[]", "a JSON list of asserts"),
        ("ifeval_old", "{}", "must be {"),
        ("ifeval", json.dumps({"func_name": "validate_titel"}), "Did you mean 'validate_title'?"),
        ("ifeval", "[{'instruction_id': ['punctuation:no_coma'], 'kwargs': [None]}]", "punctuation:no_comma"),
        ("gsm8k", "eighteen", "not a number"),
        ("flan", "", "empty"),
        ("string_f1", ["cat", " "], "empty"),
        (["gsm8k", "flan"], ["18"], "names 2 verifiers, and there are 1 ground truths"),
        (["gsm8k"], "18", "no list of ground truths"),
        (["gsm8k", "flan"], ["18", ""], "empty"),
        ([], [], "must be the name of a verifier"),
        (5, "18", "must be the name of a verifier"),
        (None, "18", "no field 'dataset'"),
        ("gsm8k", None, "no field 'ground_truth'"),
    ],
)
def test_a_row_that_cannot_be_graded(dataset: Any, truth: Any, message: str) -> None:
    grader = build(VerifierSettings(type="verifier"), Path())
    problem = {"dataset": dataset, "ground_truth": truth}
    needs = {"code": "code", "ifeval": "instruction", "ifeval_old": "instruction"}.get(str(dataset))
    if needs and needs not in GRADERS:
        pytest.skip(f"the grader `{needs}` is not there")
    for refusing in (lambda: grader.gold(problem), lambda: grader.grade("18", problem)):
        with pytest.raises(BadProblem) as error:
            refusing()
        assert message in str(error.value)


def test_every_name_is_said_once() -> None:
    names = [*DELEGATED, *TEXTS, *REFUSED]
    assert len(names) == len(set(names)) == 24


RECIPE = """\
stage: rlvr
out: runs/a
data: {{train: [{{path: {path}}}]}}
graders:
  - type: verifier
    remap: {remap}
"""


def test_ai2s_own_rows(shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They call their verifier `test`; their ground truths are sums, and each is right for its own row alone."""
    monkeypatch.chdir(tmp_path)
    rows = shared_data / "rlvr" / "tulu_rlvr_test_rows.jsonl"
    recipe = tmp_path / "a.yaml"
    recipe.write_text(RECIPE.format(path=rows, remap="{test: gsm8k}"))
    assert "grader verifier: tried on 100 problems" in check_recipe(recipe)
    recipe.write_text(RECIPE.format(path=rows, remap="{}"))
    with pytest.raises(UserError) as error:
        check_recipe(recipe)
    assert re.search(r"tulu_rlvr_test_rows\.jsonl:\d+: unknown verifier 'test'\.", str(error.value))


def test_a_row_that_ends_with_an_example_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    turns = [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "5"}]
    row = {"messages": turns, "ground_truth": ["4"], "dataset": ["gsm8k"]}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    (tmp_path / "a.yaml").write_text(RECIPE.format(path="rows.jsonl", remap="{}"))
    assert "grader verifier: tried on 1 problems" in check_recipe(tmp_path / "a.yaml")
