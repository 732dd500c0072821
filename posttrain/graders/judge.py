"""What `score_model` and `label_model` share: settings, and asking the judge once for each thing to be judged."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import cache
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, field_validator

from posttrain.endpoint import LIMIT, Client, Endpoint, EndpointError, checked_url, connect
from posttrain.endpoint.address import KEY_VARIABLE, OPENAI_URL, URL_VARIABLE
from posttrain.errors import UserError
from posttrain.graders.grade import Grade, Grader, GraderSettings, failure, shortened
from posttrain.graders.judge_prompt import Message, chat_role, messages
from posttrain.graders.template import NotInSample, check_item, openai_sample

MODEL_VARIABLE = "POSTTRAIN_JUDGE_MODEL"
MAX_KEPT = 100_000

V = TypeVar("V")


class SamplingParams(BaseModel):
    """How the judge's reply is drawn, by OpenAI's names. What is absent is left to the server."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    temperature: float | None = Field(default=None, ge=0, description="0: the likeliest reply.")
    top_p: float | None = Field(default=None, gt=0, le=1, description="Nucleus sampling.")
    seed: int | None = Field(
        default=None, description="Seed, where the server has one; reply n of several has seed + n."
    )
    max_completions_tokens: int | None = Field(
        default=None, ge=1, description="Longest reply, in tokens, thinking included."
    )
    reasoning_effort: str | None = Field(
        default=None, description="How much a reasoning model thinks: low, medium, high."
    )


class JudgeSettings(GraderSettings):
    """What both model graders can be told."""

    model: str = Field(min_length=1, description="The judge, by the name that its server knows.")
    input: list[Message] = Field(min_length=1, description="What the judge is told: messages with templates.")
    sampling_params: SamplingParams = Field(default_factory=SamplingParams, description="How its reply is drawn.")
    base_url: str | None = Field(
        None,
        description=f"The server's address, as http://127.0.0.1:8000/v1; absent: {URL_VARIABLE}, else OpenAI's.",
    )
    api_key_env: str = Field(
        KEY_VARIABLE, pattern=r"^\w+$", description="The environment variable that holds the key. Never the key."
    )
    timeout_seconds: float = Field(60.0, gt=0, le=3600, description="Longest wait for one attempt.")
    max_retries: int = Field(2, ge=0, le=20, description="Attempts after a failed one.")
    max_wait_seconds: float = Field(
        120.0, ge=0, le=86400, description="Longest wait for a server that answers nobody, before that is an error."
    )
    parallel: int = Field(8, ge=1, le=256, description="Questions asked at once.")
    requests_per_minute: float | None = Field(
        None, gt=0, description="Most requests in a minute, attempts again included, by each process; absent: no limit."
    )
    samples: int = Field(1, ge=1, le=32, description="Replies to each question: their mean, or the label of most.")
    json_schema: bool = Field(
        True,
        description="Ask for the reply as JSON by a schema, where the server can. false: the judge may think aloud "
        "and end with, say, Score: 4.",
    )
    delimit: bool = Field(
        True,
        description="Put the model's answer between tags that it cannot know, and tell the judge. false: the "
        "messages are exactly what the templates say.",
    )

    @field_validator("base_url")
    @classmethod
    def _is_an_address(cls, url: str | None) -> str | None:
        return None if url is None else checked_url(url)


def endpoint_of(settings: JudgeSettings) -> Endpoint:
    """Return where the judge is.

    A grader without `base_url`, which is OpenAI's JSON as it stands, goes to OPENAI_BASE_URL and there asks for
    POSTTRAIN_JUDGE_MODEL, where these are set. Raises UserError for an OPENAI_BASE_URL that is no address.
    """
    url, model = settings.base_url, settings.model
    if url is None:
        try:
            url = checked_url(os.environ.get(URL_VARIABLE) or OPENAI_URL)
        except ValueError as error:
            raise UserError(f"{URL_VARIABLE} is {error}") from None
        model = os.environ.get(MODEL_VARIABLE) or model
    return Endpoint(
        url,
        model,
        settings.api_key_env,
        settings.timeout_seconds,
        settings.max_retries,
        settings.max_wait_seconds,
        settings.requests_per_minute,
    )


def make_judge(
    settings: JudgeSettings,
    schema: Mapping[str, Any],
    lowest: float,
    read: Callable[[str], V | Grade],
    settle: Callable[[list[V]], Grade],
) -> Grader:
    """Return the grader that asks the judge.

    `schema` is the reply as JSON Schema. `read` returns what one reply says, or a failure; `settle` the grade
    of what all replies say. An answer that cannot be right gets `lowest` without a question: none after its
    thinking, or not the JSON that the templates ask for. Its `ready` raises UserError when a trial shows that the
    judge cannot be asked.
    """
    client = connect(endpoint_of(settings))
    templates = [text for message in settings.input for text in message.texts]

    @cache
    def tried() -> dict[str, Any]:
        return client.agree(_as_they_stand(settings), _options(settings, schema))

    trying = threading.Lock()

    def agreed() -> dict[str, Any]:
        """Return the parameters that the judge takes, by one trial of a few tokens."""
        with trying:
            return tried()

    def grade(completion: str, problem: Mapping[str, Any]) -> Grade:
        gold(problem)
        sample = openai_sample(completion)
        if sample is None or not sample["output_text"]:
            return Grade(lowest, False, "thinking never ended" if sample is None else "no answer")
        try:
            asked = messages(settings.input, problem, sample, delimit=settings.delimit)
        except (NotInSample, RecursionError) as error:  # JSON can be too deep to be written again
            return Grade(lowest, False, str(error))
        try:
            options = agreed()
        except UserError as error:
            return failure("model_grader_server_error", error.message)
        described = [str(client.endpoint), options, settings.samples, schema, settings.model_dump(mode="json")]
        key = hashlib.sha256(json.dumps([described, asked]).encode()).hexdigest()
        return once(key, lambda: _judged(client, asked, options, settings.samples, read, settle))

    def gold(problem: Mapping[str, Any]) -> None:
        for template in templates:
            check_item(template, problem)

    name = settings.name or settings.type
    return Grader(name, settings.weight, grade, gold, parallel=settings.parallel, ready=agreed)


def _options(settings: JudgeSettings, schema: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the parameters to ask with, best first: a server may not know schemas."""
    options = settings.sampling_params.model_dump(exclude_none=True)
    if limit := options.pop("max_completions_tokens", None):
        options[LIMIT] = limit
    described = {"name": "verdict", "strict": True, "schema": schema}
    with_schema = options | {"response_format": {"type": "json_schema", "json_schema": described}}
    return [with_schema, options] if settings.json_schema else [options]


def _as_they_stand(settings: JudgeSettings) -> list[dict[str, str]]:
    """Return the messages with their templates unfilled: for the trial they have the roles and the length they will."""
    return [{"role": chat_role(message.role), "content": "\n".join(message.texts)} for message in settings.input]


def _judged(
    client: Client,
    asked: Sequence[Mapping[str, Any]],
    options: Mapping[str, Any],
    samples: int,
    read: Callable[[str], V | Grade],
    settle: Callable[[list[V]], Grade],
) -> Grade:
    """Return the grade by the judge's replies; a failure unless more than half of them say something."""
    values: list[V] = []
    failures: list[Grade] = []
    tokens, reply = 0, ""
    for n in range(samples):
        seeded = {**options, "seed": options["seed"] + n} if "seed" in options else options
        try:
            answer = client.ask(asked, seeded)
        except EndpointError as error:
            failures.append(failure("model_grader_server_error", str(error)))
            continue
        tokens += answer.prompt_tokens + answer.completion_tokens
        if answer.refusal:
            failures.append(failure("model_grader_refusal_error", shortened(answer.refusal)))
        elif answer.truncated:
            failures.append(failure("model_grader_parse_error", f"cut off: {shortened(answer.text)!r}"))
        else:
            value = read(answer.text)
            if isinstance(value, Grade):
                failures.append(value)
            else:
                values.append(value)
                reply = answer.text
    if 2 * len(values) <= samples:
        return failures[0]
    grade = settle(values)
    said = f"judge: {shortened(reply)}" + (f" ({tokens} tokens)" if tokens else "")
    return grade if grade.error else grade._replace(note=said)


_kept: dict[str, Future[Grade]] = {}
_lock = threading.Lock()


def once(key: str, judged: Callable[[], Grade]) -> Grade:
    """Return the grade of a question, asked once in this process even by several threads at a time.

    A failure is not kept: the next that asks tries again.
    """
    with _lock:
        found = _kept.get(key)
        if found is None:
            if len(_kept) >= MAX_KEPT:
                del _kept[next(iter(_kept))]
            mine = _kept[key] = Future()
    if found is not None:
        return found.result()
    try:
        grade = judged()
    except BaseException as error:
        mine.set_exception(error)
        with _lock:
            _kept.pop(key, None)
        raise
    mine.set_result(grade)
    if grade.error:
        with _lock:
            _kept.pop(key, None)
    return grade
