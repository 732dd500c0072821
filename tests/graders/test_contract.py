"""What every grader must do (C8), on an example of each type: a new type needs a line in EXAMPLES.

It never raises on a bad completion and is quick about it; it refuses a bad problem; its own gold answer passes.
"""

from __future__ import annotations

import importlib.util
import json
import math
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

import pytest

from posttrain.graders import GRADERS, BadProblem, Grade, Grader, build, check_problem
from posttrain.graders.table import settings_of


class Example(NamedTuple):
    """A grader's settings beside its type, a problem, answers that pass and do not, and what it cannot run without.

    `needs_fields` is whether a problem without any field is refused; `modules` are skipped for when missing. A
    `base_url` in the settings is that of a judge (`judge_url`).
    """

    settings: dict[str, Any]
    problem: dict[str, Any]
    right: str
    wrong: str
    needs_fields: bool = True
    modules: tuple[str, ...] = ()


PYTHON_GRADER = """\
def grade(completion, problem):
    return completion.strip() == problem["answer"]
"""

CODE = "```python\ndef double(x):\n    return {} * x\n```"
BY_TEMPLATE = {"input": "{{ sample.output_text }}", "reference": "{{ item.answer }}"}
JUDGE = {"base_url": "", "input": [{"role": "user", "content": "Is it {{ item.answer }}? {{ sample.output_text }}"}]}

EXAMPLES: dict[str, Example] = {
    "number": Example({}, {"answer": "18"}, "It is 18.", "It is 19."),
    "string": Example({}, {"answer": ["Paris", "Lutetia"]}, "Paris", "Rome"),
    "pattern": Example({"pattern": "^#(?P<answer>.*)$"}, {"answer": "7"}, "#7", "7"),
    "choice": Example({}, {"answer": "B", "choices": ["Rome", "Paris"]}, "Answer: B", "Answer: A"),
    "math": Example(
        {"timeout_seconds": 1}, {"answer": r"\frac{1}{2}"}, r"\boxed{0.5}", r"\boxed{2}", modules=("math_verify",)
    ),
    "instruction": Example(
        {}, {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [None]}, "one", "a, b", modules=("langdetect",)
    ),
    "code": Example({"timeout_seconds": 5}, {"tests": ["assert double(2) == 4"]}, CODE.format(2), CODE.format(3)),
    "json": Example({}, {"answer": {"a": 1}}, '{"a": 1}', '{"a": 2}', needs_fields=False, modules=("jsonschema",)),
    "string_check": Example({"operation": "eq", **BY_TEMPLATE}, {"answer": "Paris"}, "Paris", "Rome"),
    "text_similarity": Example(
        {"evaluation_metric": "fuzzy_match", "pass_threshold": 0.9, **BY_TEMPLATE},
        {"answer": "Paris"},
        "Paris",
        "Rome",
        modules=("rapidfuzz",),
    ),
    "multi": Example(
        {"graders": {"a": {"type": "number"}}, "calculate_output": "a"}, {"answer": "18"}, "It is 18.", "It is 19."
    ),
    "score_model": Example({"model": "score", **JUDGE}, {"answer": "Paris"}, "Yes!", "Rome", modules=("openai",)),
    "label_model": Example(
        {"model": "label", "labels": ["right", "wrong"], "passing_labels": ["right"], **JUDGE},
        {"answer": "Paris"},
        "Yes!",
        "Rome",
        modules=("openai",),
    ),
    # A function of the user's that lacks a field raises, and that is an error of the grader, not of the problem.
    "python": Example({"path": "mine.py:grade"}, {"answer": "7"}, "7", "8", needs_fields=False),
    "verifier": Example({}, {"dataset": "flan", "ground_truth": "Paris"}, "The answer is: Paris", "Rome"),
    "length": Example({"at_most": 2}, {}, "one two", "one two three", needs_fields=False),
    "repetition": Example({}, {}, "one two three four five", "one " * 50, needs_fields=False),
}

DEEP = 20_000
HOSTILE = {
    "empty": "",
    "blank": " \t\n\r\u00a0\u2003\u200b",
    "one character": "a" * 100_000,
    "one digit": "9" * 100_000,
    "nul bytes": "18\0" * 1000,
    "lone surrogates": "\ud800 18 \udfff",
    "unclosed thinking": "<think>" + "The answer is 18. " * 1000,
    "thinking tags": "<think></think>" * 5000,
    "only the end of thinking": "</think>",
    "deep JSON": "[" * DEEP + "]" * DEEP,
    "deep JSON objects": '{"a":' * DEEP,
    "deep LaTeX": r"\boxed{" * DEEP + "}" * DEEP,
    "unclosed LaTeX": r"\frac{" * DEEP,
    "dollars": "$" * 50_000,
    "a tower of powers": r"\boxed{9^{9^{9^{9^9}}}}",
    "markers": "The answer is " * 5000,
    "unclosed brackets": "[" * 100_000,
    "unclosed angle brackets": "<<" * 50_000,
    "asterisks": "*" * 100_000,
    "dashes": "- " * 50_000,
    "spaces": "x" + " " * 100_000 + "x",
    "tags": "<answer>" * 10_000 + "</answer>" * 10_000,
    "braces": "{}" * 50_000 + "{{item.answer}}{{ sample.output_text }} %s {0} {answer}",
    "right to left marks": "\u202e81\u202c \u200f\u061c18",
    "combining marks": "a" + "\u0301" * 50_000,
    "lines": "\n" * 100_000,
    "fences": "```python\n" * 5000,
    "a number beyond floats": "1e999999999 " + "1" * 400,
    "not a number": "NaN Infinity -Infinity",
}
SECONDS = 20.0
"""Far more than any of them takes on a busy machine, and far less than what backtracks without end."""


class Judge(BaseHTTPRequestHandler):
    """An OpenAI-compatible endpoint with one opinion: what says Yes! is right. The model's name says how it replies."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        right = "Yes!" in str(body["messages"])
        content = {"score": float(right)} if body["model"] == "score" else {"label": "right" if right else "wrong"}
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": json.dumps(content)}}
        reply = {"id": "1", "object": "chat.completion", "created": 1, "model": body["model"], "choices": [choice]}
        data = json.dumps(reply).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@cache
def judge_url() -> str:
    """Return where the judge answers, in a thread of this process and for as long as it lives."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Judge)
    Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}/v1"


def built(name: str, folder: Path) -> Grader:
    settings = dict(EXAMPLES[name].settings)
    if "base_url" in settings:
        settings["base_url"] = judge_url()
    for module in EXAMPLES[name].modules:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    (folder / "mine.py").write_text(PYTHON_GRADER)
    return build(settings_of({"type": name, **settings}), folder)


def test_every_type_has_an_example() -> None:
    assert set(GRADERS) <= set(EXAMPLES)


@pytest.mark.parametrize("name", GRADERS)
def test_a_right_and_a_wrong_answer(name: str, tmp_path: Path) -> None:
    grader, example = built(name, tmp_path), EXAMPLES[name]
    problem = dict(example.problem)
    right, wrong = grader.grade(example.right, problem), grader.grade(example.wrong, problem)
    assert (right.passed, right.error) == (True, "")
    assert (wrong.passed, wrong.error) == (False, "")
    assert right.score is not None and wrong.score is not None and right.score > wrong.score
    check_problem([grader], problem)
    assert problem == example.problem
    assert grader.grade(example.right, problem) == right


@pytest.mark.parametrize("name", GRADERS)
def test_thinking_is_not_the_answer(name: str, tmp_path: Path) -> None:
    """Its own gold answer in thinking that never ends does not pass; after thinking it does."""
    grader, example = built(name, tmp_path), EXAMPLES[name]
    gold = grader.gold(example.problem)
    if gold is None:
        pytest.skip("it makes no gold answer")
    assert grader.grade(f"<think>Or is it 5?</think>{gold}", example.problem).passed
    assert not grader.grade(f"<think>{gold}", example.problem).passed


@pytest.mark.parametrize("completion", HOSTILE.values(), ids=list(HOSTILE))
@pytest.mark.parametrize("name", GRADERS)
def test_a_hostile_completion_gets_a_grade(name: str, completion: str, tmp_path: Path) -> None:
    grader = built(name, tmp_path)
    started = time.monotonic()
    grade = grader.grade(completion, EXAMPLES[name].problem)
    assert time.monotonic() - started < SECONDS
    assert isinstance(grade, Grade)
    if "base_url" in EXAMPLES[name].settings and grade.error:
        assert grade.error.startswith("model_grader_server_error")  # no endpoint can be sent a lone surrogate
        return
    assert grade.error == ""
    assert grade.score is not None and math.isfinite(grade.score) and 0 <= grade.score <= 1
    assert isinstance(grade.passed, bool)
    assert len(grade.note) < 1000
    json.dumps([grade.note, grade.answer, grade.parts])


@pytest.mark.parametrize("name", GRADERS)
def test_a_problem_without_its_fields_is_refused(name: str, tmp_path: Path) -> None:
    grader, example = built(name, tmp_path), EXAMPLES[name]
    if not example.needs_fields:
        assert isinstance(grader.grade(example.right, {}), Grade)
        return
    for problem in ({}, dict.fromkeys(example.problem)):
        with pytest.raises(BadProblem):
            grader.grade(example.right, problem)
        with pytest.raises(BadProblem):
            grader.gold(problem)


@pytest.mark.parametrize(
    "value", ["", " ", 0, -1.5, True, [], [[]], [""], {}, {"a": None}, "\0", "x" * 100_000, "[" * 5000]
)
@pytest.mark.parametrize("name", GRADERS)
def test_a_field_of_any_kind_is_read_or_refused(name: str, value: Any, tmp_path: Path) -> None:
    """Whatever a row holds: a grade or BadProblem, and gold answers of what is not refused pass."""
    grader, example = built(name, tmp_path), EXAMPLES[name]
    for key in example.problem:
        problem = {**example.problem, key: value}
        try:
            check_problem([grader], problem)
            grade = grader.grade(example.right, problem)
        except BadProblem:
            continue
        assert isinstance(grade, Grade)


@pytest.mark.parametrize("name", GRADERS)
def test_threads_change_nothing(name: str, tmp_path: Path) -> None:
    grader, example = built(name, tmp_path), EXAMPLES[name]
    completions = [example.right, example.wrong, "", "<think>"] * 10
    alone = [grader.grade(completion, example.problem) for completion in completions]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda completion: grader.grade(completion, example.problem), completions))
    assert together == alone
