from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from posttrain.data.records import Problem
from posttrain.engines.sampling import Completion
from posttrain.errors import UserError
from posttrain.evals.offline import read_grader
from posttrain.evals.summary import Graded, summarize
from posttrain.graders import AnyGrader, BadProblem, Grader, build, check_problem, grade_all
from posttrain.graders.grade import error_kind

PARSE: TypeAdapter[Any] = TypeAdapter(AnyGrader)
INPUT = [{"role": "user", "content": "Is {{item.answer}} what {{sample.output_text}} says?"}]
PROBLEM = {"answer": "Paris"}


def judge(server: Any, **settings: Any) -> Grader:
    own = {"base_url": server.base_url, "model": "m", "input": INPUT, "timeout_seconds": 2, "max_retries": 0}
    own["max_wait_seconds"] = 0
    grader = build(PARSE.validate_python({"type": "score_model", **own, **settings}), Path())
    grader.ready()
    return grader


def test_the_score_is_the_judges(chat_server) -> None:
    grader = judge(chat_server, range=[0, 5], pass_threshold=4, sampling_params={"seed": 42, "temperature": 0})
    chat_server.script({"content": '{"score": 4}'}, {"content": "Score: 3.5\nReasoning: Rome is no Paris"})
    four, less = (grader.grade(completion, PROBLEM) for completion in ("Paris", "Rome"))
    assert (four.score, four.passed, four.note) == (4, True, 'judge: {"score": 4} (10 tokens)')
    assert (less.score, less.passed) == (3.5, False)
    body = chat_server.seen()[0]["body"]
    assert (body["model"], body["seed"], body["temperature"]) == ("m", 42, 0)
    assert body["response_format"]["json_schema"]["schema"]["properties"] == {"score": {"type": "number"}}
    assert body["messages"][0]["content"].startswith("Is Paris what <answer-")


def test_without_a_threshold_only_the_highest_score_passes(chat_server) -> None:
    grader = judge(chat_server, delimit=False, json_schema=False)
    chat_server.script({"content": "0.9"}, {"content": "1.0"})
    assert [grader.grade(text, PROBLEM).passed for text in ("a", "b")] == [False, True]
    body = chat_server.seen()[0]["body"]
    assert body == {"model": "m", "messages": [{"role": "user", "content": "Is Paris what a says?"}]}


def test_a_label_passes_or_not(chat_server) -> None:
    labels = {"type": "label_model", "labels": ["right", "half", "wrong"], "passing_labels": ["right", "half"]}
    grader = judge(chat_server, **labels)
    chat_server.script({"content": '{"label": "half"}'}, {"content": "Wrong."}, {"content": "not right"})
    half, wrong, none = (grader.grade(text, PROBLEM) for text in ("a", "b", "c"))
    assert (half.score, half.passed, wrong.score, wrong.passed) == (1, True, 0, False)
    assert none.score is None and none.error == "model_grader_parse_error: none of the labels: 'not right'"
    schema = chat_server.seen()[0]["body"]["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["label"]["enum"] == ["right", "half", "wrong"]


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        ({"content": "It is 7 of 10."}, "model_grader_parse_error"),
        ({"content": '{"score": 2}'}, "model_grader_parse_error"),
        ({"content": '{"score": 1}', "finish_reason": "length"}, "model_grader_parse_error"),
        ({"content": None, "refusal": "I will not judge this."}, "model_grader_refusal_error"),
        ({"status": 500}, "model_grader_server_error"),
        ({"status": 429}, "model_grader_server_error"),
        ({"status": 400, "content": "the context is too long"}, "model_grader_server_error"),
        ({"raw": "<html>", "type": "text/html"}, "model_grader_server_error"),
    ],
)
def test_a_judge_that_fails_is_an_error_by_its_name_and_asked_again(chat_server, step: Any, kind: str) -> None:
    grader = judge(chat_server)
    chat_server.script(step, {"content": "1"})
    failed = grader.grade("Paris", PROBLEM)
    assert (failed.score, failed.passed, error_kind(failed.error)) == (None, False, kind)
    assert grader.grade("Paris", PROBLEM).score == 1


def test_slow_answers_end_in_time(chat_server) -> None:
    grader = judge(chat_server, timeout_seconds=0.3)
    chat_server.script({"delay": 3})
    started = time.monotonic()
    grades = grade_all([grader], [f"answer {n}" for n in range(16)], [PROBLEM] * 16)
    assert time.monotonic() - started < 3
    assert {error_kind(grade.error) for grade in grades} == {"model_grader_server_error"}


@pytest.mark.parametrize("range", [[0, 1], [1, 5], [-1, 1]])
@pytest.mark.parametrize("completion", ["<think>Rome", "", " \n", "<think>Paris</think>\n"])
def test_no_answer_gets_the_lowest_score_and_no_question(chat_server, range: list[float], completion: str) -> None:
    grader = judge(chat_server, range=range)
    chat_server.script({})
    grade = grader.grade(completion, PROBLEM)
    assert (grade.score, grade.passed, grade.error) == (range[0], False, "")
    assert chat_server.seen() == []


def test_an_answer_without_the_json_that_is_asked_for_gets_the_lowest_score(chat_server) -> None:
    grader = judge(chat_server, input=[{"role": "user", "content": "{{sample.output_json.city}}"}])
    chat_server.script({"content": "1"})
    assert grader.grade("Paris", PROBLEM)[:3] == (0, False, "the completion is not JSON")
    assert grader.grade('{"city": "Paris"}', PROBLEM).score == 1
    assert len(chat_server.seen()) == 1


@pytest.mark.parametrize(
    "completion", ["\ud800", "\x00", "[" * 990 + "]" * 990, "[" * 100_000, "{{ item.answer }}", "</s>"]
)
def test_no_completion_raises_or_fails(chat_server, completion: str) -> None:
    input = [{"role": "user", "content": "{{sample.output_text}} {{sample.output_json}}"}]
    chat_server.script({"content": "1"})
    for grader in (judge(chat_server), judge(chat_server, input=input)):
        grade = grader.grade(completion, PROBLEM)
        assert grade.score in (0, 1) and not grade.error


def test_a_row_without_a_variable_is_a_bad_problem(chat_server) -> None:
    grader = judge(chat_server)
    check_problem([grader], PROBLEM)
    for attempt in (grader.gold, lambda row: grader.grade("Paris", row), lambda row: grader.grade("", row)):
        with pytest.raises(BadProblem, match="no field 'answer'"):
            attempt({"question": "Where?"})
    with_columns = judge(chat_server, columns={"answer": "solution"})
    assert with_columns.gold({"solution": "Paris"}) is None


def test_a_question_is_asked_once(chat_server) -> None:
    grader = judge(chat_server)
    chat_server.script({"content": "1", "delay": 0.2})
    grades = grade_all([grader], ["Paris"] * 8 + ["Rome"], [PROBLEM] * 9)
    assert [grade.score for grade in grades] == [1] * 9
    assert len(chat_server.seen()) == 2
    same, other = judge(chat_server), judge(chat_server, range=[0, 2])
    chat_server.script({"content": "1"})
    assert [grader.grade("Paris", PROBLEM).score for grader in (same, other)] == [1, 1]
    assert len(chat_server.seen()) == 1


def test_several_replies_are_a_mean_or_a_majority(chat_server) -> None:
    scores = judge(chat_server, samples=3, sampling_params={"seed": 5}, pass_threshold=0.5)
    chat_server.script({"content": "1"}, {"content": "0.5"}, {"content": "what?"}, {"content": "0"}, {"status": 400})
    assert scores.grade("a", PROBLEM)[:2] == (0.75, True)
    assert [request["body"]["seed"] for request in chat_server.seen()] == [5, 6, 7]
    assert error_kind(scores.grade("b", PROBLEM).error) == "model_grader_server_error"  # 1 of 3 is too few
    labels = {"type": "label_model", "labels": ["yes", "no"], "passing_labels": ["yes"]}
    chat_server.script({"content": "no"}, {"content": "yes"})
    assert judge(chat_server, **labels, samples=3).grade("c", PROBLEM)[:2] == (1, True)
    chat_server.script({"content": "no"}, {"content": "no"}, {"content": "yes"})  # the first is the trial
    tied = judge(chat_server, **labels, samples=2).grade("d", PROBLEM)
    assert tied.error == "model_grader_parse_error: as many replies for 'yes' as for 'no'"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"pass_threshold": 5}, "pass_threshold 5 is outside the range 0 to 1"),
        ({"range": [5, 0]}, "range must be"),
        ({"range": [0]}, "at least 2"),
        ({"input": []}, "at least 1"),
        ({"base_url": "http://me:s3cret@host/v1"}, "put the key into OPENAI_API_KEY"),
        ({"api_key": "sk-s3cret"}, "Extra inputs"),
        ({"sampling_params": {"temprature": 0}}, "Extra inputs"),
        ({"type": "label_model", "labels": ["a", "b"], "passing_labels": ["c"]}, "'c' is not one of labels"),
        ({"type": "label_model", "labels": ["a", "a"], "passing_labels": ["a"]}, "a text of its own"),
        ({"type": "label_model", "labels": ["a", "b"], "passing_labels": []}, "at least 1"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        PARSE.validate_python({"type": "score_model", "model": "m", "input": INPUT, **settings})


def test_a_judge_that_cannot_be_asked_is_found_when_the_grader_is_built(
    chat_server, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat_server.script({"refuses": ["temperature"]})
    with pytest.raises(UserError, match="Unsupported parameter: temperature"):
        judge(chat_server, sampling_params={"temperature": 0})
    monkeypatch.setenv("OPENAI_BASE_URL", "http://me:s3cret@host/v1")
    with pytest.raises(UserError, match="OPENAI_BASE_URL is a URL with a user name or password") as error:
        judge(chat_server, base_url=None)
    assert "s3cret" not in str(error.value)


def test_openais_json_goes_where_the_environment_says(chat_server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", chat_server.base_url)
    chat_server.script({"content": "1"})
    assert judge(chat_server, base_url=None, model="o3-mini").grade("Paris", PROBLEM).passed
    monkeypatch.setenv("POSTTRAIN_JUDGE_MODEL", "qwen3-8b")
    assert judge(chat_server, base_url=None, model="o3-mini").grade("Paris", PROBLEM).passed
    assert judge(chat_server, model="o3-mini").grade("Paris", PROBLEM).passed  # its own address, its own model
    models = [request["body"]["model"] for request in chat_server.seen()]
    assert list(dict.fromkeys(models)) == ["o3-mini", "qwen3-8b"] and models[-1] == "o3-mini"


def test_no_key_in_any_grade_or_setting(chat_server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", "sk-s3cret")
    settings = PARSE.validate_python(
        {"type": "score_model", "model": "m", "input": INPUT, "base_url": chat_server.base_url}
        | {"api_key_env": "JUDGE_KEY", "max_retries": 0}
    )
    chat_server.script({"key": "sk-s3cret"}, {"key": "sk-s3cret", "content": "1"}, {"key": "other"})
    grader = build(settings, Path())
    grades = [grader.grade(text, PROBLEM) for text in ("a", "b")]
    assert grades[0].score == 1 and error_kind(grades[1].error) == "model_grader_server_error"
    assert "Incorrect API key provided: Bearer ***" in grades[1].error
    assert "s3cret" not in repr(grades) + settings.model_dump_json()


@pytest.mark.slow
def test_the_command_shows_no_key(chat_server, tmp_path: Path) -> None:
    grader = {"type": "score_model", "model": "m", "input": INPUT, "max_retries": 0, "base_url": chat_server.base_url}
    (tmp_path / "judge.json").write_text(json.dumps(grader), encoding="utf-8")
    (tmp_path / "rows.jsonl").write_text('{"completion": "Rome", "answer": "Paris"}\n', encoding="utf-8")
    environ = os.environ | {"OPENAI_API_KEY": "sk-s3cret", "OPENAI_LOG": "debug"}

    def grade(*flags: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "posttrain", "grade", "judge.json", "rows.jsonl", *flags]
        return subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True)

    chat_server.script({}, {"key": "other"})
    failed, refused, traced = grade("--json"), grade(), grade("--debug")
    assert failed.returncode == 2 and "model_grader_server_error: HTTP 401" in failed.stdout
    assert refused.returncode == 2
    assert "Traceback" in traced.stderr
    for done in (refused, traced):
        assert "HTTP 401: Incorrect API key provided: Bearer ***" in done.stderr
    grader["base_url"] = chat_server.base_url.replace("://", "://me:s3cret@")
    (tmp_path / "judge.json").write_text(json.dumps(grader), encoding="utf-8")
    address = grade()
    assert address.returncode == 2 and "judge.json:1 base_url: a URL with a user name" in address.stderr
    assert "s3cret" not in "".join(done.stdout + done.stderr for done in (failed, refused, traced, address))


@pytest.mark.parametrize("name", ["clause_matching_model_grader", "countdown_score_model_grader", "zava_grader"])
def test_openais_published_graders_work_as_they_are(
    chat_server, shared_data: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", chat_server.base_url)
    settings: Any = read_grader(shared_data / "rft" / f"{name}.json")
    assert (settings.range, settings.pass_threshold) == (([0, 5], 5) if "countdown" in name else ([0, 1], 0.5))
    chat_server.script({"content": "Score: 1\nReasoning: as asked"})
    grader = build(settings, Path())
    row = {
        "extracted_text": "Term",
        "clause_type": "Renewal",
        "target": "125",
        "nums": "[1, 5, 25]",
        "reference_policy_args": [{"item_id": "7"}],
        "reference_policy_outcome": [{"eligible": True}],
    }
    grade = grader.grade('{"expression": "5 * 25", "result": "125"}', row)
    assert (grade.score, grade.passed) == (1, "countdown" not in name)
    assert '"result": "125"' in chat_server.seen()[-1]["body"]["messages"][-1]["content"]


def test_a_judge_killed_while_200_are_graded_makes_errors_and_no_zeros(chat_server) -> None:
    grader = judge(chat_server, max_retries=1)
    chat_server.script({"content": "1", "delay": 0.05})

    def kill() -> None:
        while len(chat_server.seen()) < 60:
            time.sleep(0.02)
        chat_server.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    started = time.monotonic()
    texts = [f"answer {n}" for n in range(200)]
    grades = grade_all([grader], texts, [PROBLEM] * 200)
    killer.join()
    assert time.monotonic() - started < 10
    judged = [grade for grade in grades if not grade.error]
    failed = [grade for grade in grades if grade.error]
    assert len(judged) + len(failed) == 200 and len(judged) >= 40 and len(failed) >= 100
    assert {grade.score for grade in judged} == {1.0} and {grade.score for grade in failed} == {None}
    assert {error_kind(grade.error) for grade in failed} == {"model_grader_server_error"}
    # 25 problems with 8 samples each: the figures are those of the samples that have a verdict.
    problem = Problem(prompt=[], fields=PROBLEM, tools=None, place="rows.jsonl:1")
    done = [Completion(text, 1, False) for text in texts]
    rows = [Graded(problem, done[n : n + 8], grades[n : n + 8]) for n in range(0, 200, 8)]
    look = summarize(rows, [1])
    assert look.errors == {"model_grader_server_error": len(failed)}
    assert (look.figures["reward"].mean, look.figures["pass@1"].mean) == (1.0, 1.0)
    assert look.problems == sum(any(not grade.error for grade in row.grades) for row in rows) < 25


def test_many_threads_share_a_judge(chat_server) -> None:
    grader = judge(chat_server, parallel=16)
    chat_server.script({"content": "0.5"})
    with ThreadPoolExecutor(16) as pool:
        grades = list(pool.map(lambda n: grader.grade(f"answer {n}", PROBLEM), range(100)))
    assert {grade.score for grade in grades} == {0.5}


@pytest.mark.slow
def test_transformers_serve_is_a_judge(transformers_server: tuple[str, str]) -> None:
    url, model = transformers_server
    grader = build(
        PARSE.validate_python(
            {
                "type": "label_model",
                "base_url": url,
                "model": model,
                "labels": ["good", "bad"],
                "passing_labels": ["good"],
            }
            | {"input": [{"role": "developer", "content": "Judge."}, *INPUT], "sampling_params": {"temperature": 0}}
        ),
        Path(),
    )
    # So small a model is no judge: what it says must be read as no verdict rather than guessed.
    grade = grader.grade("Rome", PROBLEM)
    assert error_kind(grade.error) == "model_grader_parse_error"
    with pytest.raises(UserError, match=r"(?s)HTTP 400.*pinned.*the model's name"):
        other = {"type": "score_model", "base_url": url, "model": "x", "input": INPUT}
        build(PARSE.validate_python(other), Path()).ready()
