"""A row of a log to the answers in it, each with its verdicts; and rows that rate an answer of another row.

The shapes were checked against these sources:

- OpenAI: the chat completion and its chunk in the API reference (id, object, choices, created, metadata); stored
  completions hold the request's messages apart, so that logs join them under ``messages``, ``input`` or ``request``.
- Langfuse: observations, traces and scores in its blob-storage export reference (trace_id, parent_observation_id,
  input, output, user_id, session_id, start_time, level), in camel case in the files of its interface.
- LangSmith: `Run` in python/langsmith/schemas.py of its SDK. Its `session_id` is the project: the conversation stands
  in ``extra.metadata`` (session_id, thread_id, conversation_id).
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from posttrain.curation.feedback.names import NAMES, as_text, fields_of, filled, first, identifier, mapped, plain
from posttrain.curation.feedback.scores import Given, Wanted, parsed, rating_of, verdicts_in
from posttrain.curation.feedback.turns import Unusable, after, check_answer, check_prompt, turns_of
from posttrain.data.records import Message
from posttrain.errors import UserError

FAILED = "an error instead of an answer"
FRAGMENT = "a fragment of a streamed answer"
WHICH = "several answers, and it is not said which was judged"

_ANSWERED = (
    "messages",
    "conversations",
    "choices",
    "observations",
    "prompt",
    "completion",
    "response",
    "input",
    "inputs",
)
_FAILED = ("error", "failed", "failure")


@dataclass
class Answer:
    """An answer, what identifies it, who asked, and the verdicts that its row has of it.

    `why` is the reason to leave it out, where there is one; else `prompt` and `completion` can be used.
    """

    ids: list[str]
    user: str | None
    conversation: str | None
    time: Any
    verdicts: list[Given]
    place: str
    prompt: list[Message] = field(default_factory=list)
    completion: list[Message] = field(default_factory=list)
    why: str | None = None


def rated_id(row: Mapping[str, Any], wanted: Wanted, found: set[str], place: str, *, sure: bool) -> str | None:
    """The id of the answer that the row rates; None for a row that is no rating.

    With `sure`, as in a file of ratings, raises UserError for a row that names no answer.
    """
    if not sure and any(plain(name) in _ANSWERED and filled(value) for name, value in row.items()):
        return None
    given = mapped(row, wanted.columns, found)
    fields = fields_of(row, _metadata(row))
    if not sure:
        said = any(first(fields, kind) is not None for kind in ("prompt", "response", "conversation_turns"))
        if said or {"prompt", "response"} & given.keys():
            return None
    names = NAMES["id"] if sure else NAMES["id"][:-1]
    id = as_text(given.get("id")) or as_text(next((fields[name] for name in names if name in fields), None))
    if id is None and sure:
        raise UserError(
            "the rating does not say of which answer",
            where=place,
            fix=f"Its columns: {', '.join(row)}. `--columns id=COLUMN` names the completion's id.",
        )
    return id


def read_rating(row: Mapping[str, Any], wanted: Wanted, place: str) -> list[Given]:
    """The verdicts of a row that rates an answer, each with who gave it and when, where the row says."""
    given = mapped(row, wanted.columns, set())
    fields = fields_of(row, _metadata(row))
    user, time = as_text(given.get("user")) or identifier(fields, "user"), given.get("time", first(fields, "time"))
    verdicts = [Given(given["label"], "label")] if "label" in given else rating_of(fields, wanted, place)
    return [Given(each.value, each.name, each.user or user, each.time or time) for each in verdicts]


def read_answers(
    row: Mapping[str, Any], wanted: Wanted, found: set[str], place: str, rated: Container[str] = ()
) -> Iterator[Answer]:
    """Yield the answers of the row: one, each judged turn of a conversation, or a trace's own and its parts'.

    The texts of an answer without a verdict are looked at only if one of its ids is `rated` elsewhere.
    """
    observations = parsed(row.get("observations"))
    if isinstance(observations, list) and any(isinstance(each, Mapping) for each in observations):
        yield from _trace(row, observations, wanted, found, place, rated)
        return
    given = mapped(row, wanted.columns, found)
    asked, said = _inner(row, "request"), _inner(row, "response")
    is_run = "run_type" in row or ("inputs" in row and "outputs" in row)
    own = {key: value for key, value in row.items() if not (is_run and plain(key) in ("sessionid", "sessionname"))}
    fields = fields_of(own, _metadata(row), asked, _metadata(asked), {"id": said.get("id")})
    answer = Answer(
        ids=_ids(fields, given, said),
        user=as_text(given.get("user")) or identifier(fields, "user"),
        conversation=as_text(given.get("conversation")) or identifier(fields, "conversation"),
        time=given.get("time", first(fields, "time")),
        verdicts=[Given(given["label"], "label")] if "label" in given else [],
        place=place,
    )
    turns = None if {"prompt", "response"} & given.keys() else _conversation(row, fields, said)
    if turns is not None and "label" not in given and (judged := list(_judged_turns(turns, answer, wanted, place))):
        yield from judged
        return
    if "label" not in given:
        answer.verdicts = verdicts_in(fields, wanted, place)
    answer.why = _why_not(fields, said)
    try:
        if answer.why is None and (answer.verdicts or any(id in rated for id in answer.ids)):
            _fill(answer, row, given, fields, asked, said, turns)
    except Unusable as reason:
        answer.why = str(reason)
    yield answer


def _fill(
    answer: Answer,
    row: Mapping[str, Any],
    given: Mapping[str, Any],
    fields: Mapping[str, Any],
    asked: Mapping[str, Any],
    said: Mapping[str, Any],
    turns: list[Any] | None,
) -> None:
    """Put the prompt and the completion into the answer. Raises Unusable."""
    if turns is not None:
        messages = turns_of(turns, "user")
        answer.prompt, answer.completion = check_prompt(messages[:-1]), check_answer(messages[-1:])
        return
    requested = next((asked[name] for name in ("messages", "input", "prompt") if filled(asked.get(name))), None)
    question = given.get("prompt", requested)
    if question is None:
        question = fields.get("messages") if "messages" in fields else first(fields, "prompt")
    reply = given.get("response", _choices(row, said) or None)
    if reply is None:
        reply = next((fields[name] for name in NAMES["response"] if name in fields), None)
    if isinstance(_choices(row, said), list) and len(_choices(row, said)) > 1 and "response" not in given:
        raise Unusable(WHICH)
    before = parsed(fields.get("history", fields.get("chathistory")))
    prompt = (turns_of(before, "user") if isinstance(before, list) else []) + turns_of(question, "user")
    completion = turns_of(reply, "assistant")
    if len(prompt) > 1 and prompt[-1:] == completion:  # the log has put the answer into the conversation already
        prompt = prompt[:-1]
    system = fields.get("system", fields.get("systemprompt"))
    if isinstance(system, str) and prompt and prompt[0]["role"] != "system":
        prompt = [{"role": "system", "content": system}, *prompt]
    answer.prompt, answer.completion = check_prompt(prompt), check_answer(after(prompt, completion))


def _judged_turns(turns: list[Any], answer: Answer, wanted: Wanted, place: str) -> Iterator[Answer]:
    """Yield an answer for each assistant's turn that has a verdict of its own."""
    for index, turn in enumerate(turns):
        if not isinstance(turn, Mapping) or turn.get("role", turn.get("from")) not in ("assistant", "gpt", "model"):
            continue
        fields = fields_of(
            {key: value for key, value in turn.items() if key not in ("role", "from", "content", "value")},
            _metadata(turn),
        )
        verdicts = verdicts_in(fields, wanted, place)
        ids = [id for id in [as_text(first(fields, "id"))] if id]
        if not verdicts:
            continue
        judged = Answer(ids, answer.user, answer.conversation, first(fields, "time") or answer.time, verdicts, place)
        try:
            judged.prompt = check_prompt(turns_of(turns[:index], "user"))
            judged.completion = check_answer(turns_of([turn], "assistant"))
        except Unusable as reason:
            judged.why = str(reason)
        yield judged


def _conversation(row: Mapping[str, Any], fields: Mapping[str, Any], said: Mapping[str, Any]) -> list[Any] | None:
    """The messages of a row that is a whole conversation; None where the answer stands apart."""
    if _choices(row, said) or any(name in fields for name in NAMES["response"]):
        return None
    turns = parsed(first(fields, "conversation_turns"))
    turns = parsed(fields.get("conversation")) if turns is None else turns
    return turns if isinstance(turns, list) and turns and all(isinstance(turn, Mapping) for turn in turns) else None


def _trace(
    row: Mapping[str, Any], observations: list[Any], wanted: Wanted, found: set[str], place: str, rated: Container[str]
) -> Iterator[Answer]:
    """Langfuse's download of a trace: the trace's answer, and of its observations those that have a score."""
    trace = row.get("trace") if isinstance(row.get("trace"), Mapping) else row
    assert isinstance(trace, Mapping)
    scores = parsed(row.get("scores", trace.get("scores"))) or []
    scores = [score for score in scores if isinstance(score, Mapping)] if isinstance(scores, list) else []

    def of(score: Mapping[str, Any]) -> Any:
        return score.get("observationId", score.get("observation_id"))

    own = {key: value for key, value in trace.items() if key != "observations"}
    yield from read_answers(own | {"scores": [score for score in scores if not of(score)]}, wanted, found, place, rated)
    above = {key: trace.get(key) for key in ("userId", "user_id", "sessionId", "session_id") if trace.get(key)}
    for each in observations:
        if not isinstance(each, Mapping):
            continue
        theirs = [score for score in scores if of(score) == each.get("id")]
        if theirs:
            yield from read_answers({**above, **each, "scores": theirs}, wanted, found, place, rated)


def _ids(fields: Mapping[str, Any], given: Mapping[str, Any], said: Mapping[str, Any]) -> list[str]:
    """What ratings may call the answer. A part of a trace does not answer to the trace's name, its root does."""
    part = any(name in fields for name in ("parentobservationid", "parentrunid"))
    names = [name for name in NAMES["id"] if not (part and name == "traceid")]
    found = [given.get("id"), said.get("id"), *(fields[name] for name in names if name in fields)]
    return list(dict.fromkeys(id for id in map(as_text, found) if id))


def _metadata(row: Mapping[str, Any]) -> dict[str, Any]:
    extra = parsed(row.get("extra"))
    inner = parsed(extra.get("metadata")) if isinstance(extra, Mapping) else None
    own = parsed(row.get("metadata"))
    return fields_of(own, inner)


def _inner(row: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The request or the response that a gateway logs: under its name, perhaps under ``body`` in it."""
    inner = parsed(row.get(name, row.get("body") if name == "request" else None))
    if not isinstance(inner, Mapping):
        return {}
    body = parsed(inner.get("body"))
    return {**inner, **body} if isinstance(body, Mapping) else inner


def _choices(row: Mapping[str, Any], said: Mapping[str, Any]) -> Any:
    """The choices of a chat completion, or of what an endpoint answered with one."""
    output = parsed(row.get("output", row.get("outputs")))
    inner = output.get("choices") if isinstance(output, Mapping) else None
    return next((choices for choices in (parsed(row.get("choices")), said.get("choices"), inner) if choices), None)


def _why_not(fields: Mapping[str, Any], said: Mapping[str, Any]) -> str | None:
    status = said.get("status_code", fields.get("statuscode"))
    failed = isinstance(status, int) and status >= 400
    error = fields.get("error", said.get("error"))
    words = [str(fields.get(name, "")).casefold() for name in ("level", "status")]
    if failed or (filled(error) and error not in (False, {}, [])) or any(word in _FAILED for word in words):
        return FAILED
    choices = parsed(fields.get("choices", said.get("choices")))
    chunks = isinstance(choices, list) and any(isinstance(each, Mapping) and "delta" in each for each in choices)
    if chunks or "chunk" in str(fields.get("object", said.get("object", ""))):
        return FRAGMENT
    return None
