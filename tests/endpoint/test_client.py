from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import pytest

from posttrain.endpoint import LIMIT, Client, Endpoint, EndpointError, connect
from posttrain.endpoint import client as module
from posttrain.errors import UserError

HELLO = [{"role": "user", "content": "Hello"}]


def client_of(server: Any, **settings: Any) -> Client:
    return connect(Endpoint(server.base_url, "m", **{"timeout_seconds": 2, "max_retries": 2, **settings}))


def test_a_reply_has_its_text_its_end_and_its_tokens(chat_server) -> None:
    chat_server.script({"content": "7", "finish_reason": "length"}, {"refusal": "no", "content": None})
    client = client_of(chat_server)
    reply = client.ask(HELLO, {"temperature": 0})
    assert (reply.text, reply.truncated, reply.prompt_tokens, reply.completion_tokens) == ("7", True, 7, 3)
    assert client.ask(HELLO, {})[:3] == ("", False, "no")
    assert chat_server.seen()[0]["body"] == {"model": "m", "messages": HELLO, "temperature": 0}


def test_retry_after_is_honoured(chat_server) -> None:
    chat_server.script({"status": 429, "headers": {"Retry-After": "1"}}, {"content": "yes"})
    assert client_of(chat_server).ask(HELLO, {}).text == "yes"
    first, second = (request["at"] for request in chat_server.seen())
    assert 1.0 <= second - first < 5.0


def test_500_is_tried_again_a_bounded_number_of_times(chat_server) -> None:
    chat_server.script({"status": 500, "content": "no memory"})
    with pytest.raises(EndpointError, match="HTTP 500: no memory") as error:
        client_of(chat_server).ask(HELLO, {})
    assert error.value.status == 500 and not error.value.of_request
    assert len(chat_server.seen()) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_a_refused_request_is_not_tried_again(chat_server, status: int) -> None:
    chat_server.script({"status": status, "body": {"detail": "no such thing"}})
    with pytest.raises(EndpointError, match=f"HTTP {status}: no such thing") as error:
        client_of(chat_server).ask(HELLO, {})
    assert error.value.of_request
    assert len(chat_server.seen()) == 1


@pytest.mark.parametrize(
    "step",
    [
        {"raw": "<html>bad gateway</html>", "type": "text/html"},
        {"raw": "{"},
        {"raw": "[]"},
        {"raw": '{"choices": []}'},
        {"raw": '{"choices": [{"message": null}]}'},
        {"content": ["a list"]},
        {"usage": {"prompt_tokens": "many"}},
    ],
)
def test_garbage_is_a_named_error(chat_server, step: dict[str, Any]) -> None:
    chat_server.script(step)
    with pytest.raises(EndpointError, match="not a chat completion"):
        client_of(chat_server).ask(HELLO, {})


def test_silence_ends_in_time(chat_server) -> None:
    client = client_of(chat_server, timeout_seconds=0.3, max_retries=0)
    chat_server.script({"delay": 5})
    started = time.monotonic()
    with pytest.raises(EndpointError, match=r"no reply in 1 attempts of 0\.3 s"):
        client.ask(HELLO, {})
    assert time.monotonic() - started < 2


def test_a_reply_that_trickles_in_is_given_up(chat_server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("posttrain.endpoint.address.LONGEST_BACKOFF_SECONDS", 0.5)
    chat_server.script({"drip": 0.2})  # a byte within every time-out
    started = time.monotonic()
    with pytest.raises(EndpointError, match="no reply"):
        client_of(chat_server, timeout_seconds=0.5, max_retries=0).ask(HELLO, {})
    assert time.monotonic() - started < 3


def test_a_server_that_only_fails_is_left_alone(chat_server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.5)
    chat_server.script(*[{"status": 503}] * module.FAILURES_IN_A_ROW, {})
    client = client_of(chat_server, max_retries=0)
    for _ in range(module.FAILURES_IN_A_ROW):
        with pytest.raises(EndpointError, match="HTTP 503"):
            client.ask(HELLO, {})
    with pytest.raises(EndpointError, match="not asked after 8 failures in a row: HTTP 503"):
        client.ask(HELLO, {})
    assert len(chat_server.seen()) == module.FAILURES_IN_A_ROW
    time.sleep(0.6)
    assert client.ask(HELLO, {}).text
    chat_server.script({"status": 503}, {})
    with pytest.raises(EndpointError):
        client.ask(HELLO, {})
    assert client.ask(HELLO, {}).text


def test_refused_requests_are_no_failures_of_the_server(chat_server) -> None:
    chat_server.script({"status": 400})
    client = client_of(chat_server)
    for _ in range(module.FAILURES_IN_A_ROW + 2):
        with pytest.raises(EndpointError, match="HTTP 400"):
            client.ask(HELLO, {})


def test_a_content_filter_is_a_refusal(chat_server) -> None:
    filtered = {"error": {"code": "content_filter", "message": "The prompt was filtered"}}
    chat_server.script({"status": 400, "body": filtered}, {"content": "Half", "finish_reason": "content_filter"})
    client = client_of(chat_server)
    assert client.ask(HELLO, {}).refusal == "The prompt was filtered"
    assert client.ask(HELLO, {}).refusal == "content filter"


def test_a_key_in_the_environment_is_sent_and_never_shown(chat_server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", " sk-s3cret \n")
    chat_server.script({"key": "sk-s3cret"}, {"key": "another"}, {"status": 500, "content": "x" * 295 + "sk-s3cret"})
    client = client_of(chat_server, max_retries=0)
    assert client.ask(HELLO, {}).text
    for status in (401, 500):
        with pytest.raises(EndpointError, match=f"HTTP {status}") as error:
            client.ask(HELLO, {})
        assert "sk-" not in str(error.value)
        assert error.value.__cause__ is None and error.value.__suppress_context__
    assert chat_server.seen()[0]["headers"]["authorization"] == "Bearer sk-s3cret"


def test_what_a_server_does_not_know_is_left_out(chat_server) -> None:
    schema = {"response_format": {"type": "json_schema"}}
    client = client_of(chat_server)
    chat_server.script({})
    assert client.agree(HELLO, [schema, {}]) == schema
    assert chat_server.seen()[0]["body"][LIMIT] == module.TRIAL_TOKENS
    chat_server.script({"refuses": ["response_format"]})
    assert client.agree(HELLO, [schema | {LIMIT: 50}, {LIMIT: 50}]) == {LIMIT: 50}
    chat_server.script({"refuses": [LIMIT]})
    assert client.agree(HELLO, [schema | {LIMIT: 50}]) == schema | {"max_tokens": 50}
    assert client.agree(HELLO, [schema]) == schema
    chat_server.script({"refuses": [LIMIT, "max_tokens"]})
    assert client.agree(HELLO, [schema]) == schema
    with pytest.raises(UserError, match="Unsupported parameter: max_tokens"):
        client.agree(HELLO, [schema | {LIMIT: 50}])


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ({"key": "right"}, r"(?s)HTTP 401.*set OPENAI_API_KEY"),
        ({"status": 403}, r"(?s)HTTP 403.*may use this model"),
        ({"status": 404}, r"(?s)HTTP 404.*model's name or the URL"),
        ({"status": 429}, r"(?s)HTTP 429.*limits"),
        ({"refuses": ["temperature"]}, r"(?s)Unsupported parameter: temperature.*mend"),
    ],
)
def test_a_trial_says_what_to_mend(chat_server, step: dict[str, Any], said: str) -> None:
    chat_server.script(step)
    with pytest.raises(UserError, match=said) as error:
        client_of(chat_server, max_retries=0).agree(HELLO, [{"temperature": 0.0}])
    assert f"{chat_server.base_url}#m cannot be used" in str(error.value)


def test_a_server_that_is_not_there_is_said(chat_server) -> None:
    chat_server.kill()
    with pytest.raises(UserError, match=r"(?s)no connection.*start the server"):
        client_of(chat_server, max_retries=0).agree(HELLO, [{}])


def test_a_server_that_is_down_is_waited_for(chat_server) -> None:
    client = client_of(chat_server, max_retries=0, max_wait_seconds=30)
    chat_server.kill()
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(client.ask, HELLO, {}) for _ in range(4)]
        time.sleep(1.5)
        assert not any(one.done() for one in asked)
        chat_server.start()
        assert {one.result().text for one in asked} == {'{"score": 1}'}


@pytest.mark.parametrize("status", [429, 503])
def test_the_wait_has_an_end_and_the_next_question_none(chat_server, status: int) -> None:
    chat_server.script({"status": status})
    client = client_of(chat_server, max_retries=0, max_wait_seconds=2)
    started = time.monotonic()
    with pytest.raises(EndpointError, match=f"HTTP {status}"):
        client.ask(HELLO, {})
    assert 1 <= time.monotonic() - started < 5  # asked at 0 and 1 s; the next wait would end too late
    assert len(chat_server.seen()) == 2
    time.sleep(max(0.0, started + 2 - time.monotonic()))
    started = time.monotonic()
    with pytest.raises(EndpointError):
        client.ask(HELLO, {})
    assert time.monotonic() - started < 1


@pytest.mark.parametrize("step", [{"status": 500}, {"raw": "nonsense"}, {"status": 400}])
def test_what_fails_by_itself_is_not_waited_for(chat_server, step: dict[str, Any]) -> None:
    chat_server.script(step)
    started = time.monotonic()
    with pytest.raises(EndpointError):
        client_of(chat_server, max_retries=0, max_wait_seconds=30).ask(HELLO, {})
    assert time.monotonic() - started < 1


def test_a_trial_does_not_wait(chat_server) -> None:
    chat_server.kill()
    started = time.monotonic()
    with pytest.raises(UserError, match="no connection"):
        client_of(chat_server, max_retries=0, max_wait_seconds=30).agree(HELLO, [{}])
    assert time.monotonic() - started < 1


def test_requests_keep_to_their_rate_those_sent_again_too(chat_server) -> None:
    # 300 a minute: one in 0.2 s. Six questions, of which the first is sent three times, are eight requests.
    chat_server.script(*[{"status": 500, "headers": {"retry-after-ms": "1"}}] * 2, {})
    client = client_of(chat_server, requests_per_minute=300)
    with ThreadPoolExecutor(6) as pool:
        assert len(list(pool.map(lambda _: client.ask(HELLO, {}), range(6)))) == 6
    at = [request["at"] for request in chat_server.seen()]
    assert len(at) == 8
    assert at[-1] - at[0] == pytest.approx(1.4, abs=0.3)
    assert all(later - earlier > 0.1 for earlier, later in pairwise(at))


def test_waiting_for_a_turn_is_no_time_out(chat_server, monkeypatch: pytest.MonkeyPatch) -> None:
    chat_server.script({})
    # The last of four waits for its turn for 1.5 s, longer than a question may take in all.
    monkeypatch.setattr("posttrain.endpoint.address.LONGEST_BACKOFF_SECONDS", 0.0)
    client = client_of(chat_server, timeout_seconds=1, max_retries=0, requests_per_minute=120)
    with ThreadPoolExecutor(4) as pool:
        assert len(list(pool.map(lambda _: client.ask(HELLO, {}), range(4)))) == 4
