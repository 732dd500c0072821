"""Asking an endpoint. The `openai` package sends, retries and backs off.

Its event loop runs in a thread of its own: only there can a reply that trickles in be given up in time.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import math
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, nullcontext
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, NamedTuple

from posttrain.endpoint.address import Endpoint, api_key
from posttrain.errors import UserError

FAILURES_IN_A_ROW = 8
PAUSE_SECONDS = 30.0
"""After so many failures without a reply between them nothing is sent for this long: a server that hangs would
take its full time for every question."""
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 1.0, 10.0
"""Between two questions to a server that is down: twice as long each time."""
LIMIT, OLD_LIMIT = "max_completion_tokens", "max_tokens"
"""The longest reply, by OpenAI's name of today and by the one that older servers know."""
TRIAL_TOKENS = 16
_DOWN = (429, 502, 503, 504)


# The seconds that a question waited for its turns.
_waited: ContextVar[list[float]] = ContextVar("waited")


class Reply(NamedTuple):
    """What the model said. `truncated`: it was cut off. `refusal`: why it would not answer. Tokens are 0 where the
    server does not count them."""

    text: str
    truncated: bool = False
    refusal: str = ""
    reasoning: str = ""
    tool_calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


class EndpointError(Exception):
    """No reply came. `status` is HTTP's, 0 where the server did not get to say one; `unreachable`: it was not there."""

    def __init__(self, message: str, status: int = 0, *, unreachable: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.is_down = unreachable or status in _DOWN
        """Whether no question would have got a reply. What took its whole time is not among them: it has waited."""

    @property
    def of_request(self) -> bool:
        """Whether the server refused this very request, rather than being unable to answer any."""
        return 400 <= self.status < 500 and self.status not in (408, 409, 429)


class Client:
    """Asks one endpoint. Any number of threads may share it; its state changes in the event loop's thread alone."""

    def __init__(self, endpoint: Endpoint, key: str) -> None:
        import openai

        self.endpoint = endpoint
        self._key = key
        self._openai = openai.AsyncOpenAI(
            api_key=key or "none",
            base_url=endpoint.base_url,
            timeout=endpoint.timeout_seconds,
            max_retries=endpoint.max_retries,
            http_client=openai.DefaultAsyncHttpxClient(event_hooks={"request": [self._in_turn]}),
        )
        self._next_turn = 0.0
        self._failures = 0
        self._down_since: float | None = None
        self._paused_until = 0.0
        self._last_error = ""

    def ask(self, messages: Sequence[Mapping[str, Any]], options: Mapping[str, Any], *, patient: bool = True) -> Reply:
        """Return the model's reply; `options` are chat completions' own parameters.

        Raises EndpointError after at most `Endpoint.limit_seconds`, or `Endpoint.max_wait_seconds` later where the
        server answers nobody, and at once while a server that has only failed of late is left alone.
        """
        asked = self.submit(messages, options, patient=patient)
        try:
            return asked.result()
        finally:
            asked.cancel()  # does nothing, but where the caller was interrupted

    def submit(
        self,
        messages: Sequence[Mapping[str, Any]],
        options: Mapping[str, Any],
        gate: asyncio.Semaphore | None = None,
        *,
        patient: bool = True,
    ) -> Future[Reply]:
        """Return the reply to come, which can be cancelled; `gate` bounds how many are asked for at once. Without
        `patient` a server that is down is not waited for."""
        body = {"model": self.endpoint.model, "messages": list(messages), **options}
        return asyncio.run_coroutine_threadsafe(self._gated(body, gate or nullcontext(), patient), _loop())

    def agree(self, messages: Sequence[Mapping[str, Any]], options: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Ask for a few tokens with each of `options` in turn; return the first that the server takes.

        A limit on the reply's tokens is tried by both its names. Raises UserError when the server cannot be
        reached, or refuses the key, the model or all the options.
        """
        refusals: list[str] = []
        for wanted, probe in _candidates(options):
            try:
                self.ask(messages, probe, patient=False)
            except EndpointError as error:
                refusals += [str(error)] if str(error) not in refusals else []
                if error.status in (400, 422):
                    continue
                raise self._unusable(str(error), error.status) from None
            return wanted
        raise self._unusable("; ".join(refusals), 400)

    async def _gated(self, body: dict[str, Any], gate: AbstractAsyncContextManager[None], patient: bool) -> Reply:
        async with gate:
            return await self._patient(body) if patient else await self._counted(body)

    async def _patient(self, body: dict[str, Any]) -> Reply:
        """Send, and while the server is down wait and send again, until it has been down for too long."""
        wait, failed_first = FIRST_WAIT_SECONDS, math.inf
        while True:
            try:
                return await self._counted(body)
            except EndpointError as error:
                now = time.monotonic()
                failed_first = min(failed_first, now)
                down_since = min(failed_first, now if self._down_since is None else self._down_since)
                if not error.is_down or now + wait > down_since + self.endpoint.max_wait_seconds:
                    raise
            await asyncio.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT_SECONDS)

    async def _counted(self, body: dict[str, Any]) -> Reply:
        """Send, and count failures of the server in a row; after too many nothing is sent for a while."""
        if time.monotonic() < self._paused_until:
            raise EndpointError(f"not asked after {self._failures} failures in a row: {self._last_error}")
        try:
            reply = await self._send(body)
        except EndpointError as error:
            if not error.of_request:
                now = time.monotonic()
                self._failures += 1
                self._last_error = str(error)
                self._down_since = now if self._down_since is None else self._down_since
                waited = not error.is_down or now > self._down_since + self.endpoint.max_wait_seconds
                if self._failures >= FAILURES_IN_A_ROW and waited:
                    self._paused_until = now + PAUSE_SECONDS
            raise
        self._failures, self._down_since = 0, None
        return reply

    async def _in_turn(self, request: Any) -> None:
        """Wait until the next attempt may be sent: they are spread evenly over the minute."""
        if self.endpoint.requests_per_minute is None:
            return
        now = time.monotonic()
        turn = max(now, self._next_turn)
        self._next_turn = turn + 60.0 / self.endpoint.requests_per_minute
        _waited.get().append(turn - now)
        await asyncio.sleep(turn - now)

    async def _send(self, body: dict[str, Any]) -> Reply:
        import openai

        try:
            return read_reply(await self._within_limit(body))
        except openai.APIStatusError as error:
            said = self._shown(_message(error.body) or error.response.text)
            if isinstance(error.body, dict) and error.body.get("code") == "content_filter":
                return Reply("", refusal=said)
            raise EndpointError(f"HTTP {error.status_code}: {said}", error.status_code) from None
        except (asyncio.TimeoutError, openai.APITimeoutError):
            tried = f"{self.endpoint.max_retries + 1} attempts of {self.endpoint.timeout_seconds:g} s"
            raise EndpointError(f"no reply in {tried}") from None
        except openai.APIConnectionError as error:
            raise EndpointError(
                f"no connection: {self._shown(str(error.__cause__ or error))}", unreachable=True
            ) from None
        except (openai.OpenAIError, ValueError) as error:
            raise EndpointError(f"not a chat completion: {self._shown(str(error))}") from None

    async def _within_limit(self, body: dict[str, Any]) -> Any:
        """Return the server's answer; raises asyncio.TimeoutError after `Endpoint.limit_seconds`, not counting what it
        waited for its turn."""
        waited: list[float] = []
        _waited.set(waited)
        started = time.monotonic()
        sent = asyncio.ensure_future(self._openai.post("/chat/completions", body=body, cast_to=object))
        try:
            while (left := started + sum(waited) + self.endpoint.limit_seconds - time.monotonic()) > 0:
                if (await asyncio.wait({sent}, timeout=left))[0]:
                    return sent.result()
            raise asyncio.TimeoutError
        finally:
            sent.cancel()

    def _unusable(self, said: str, status: int) -> UserError:
        key = self.endpoint.api_key_env
        fix = {
            400: "mend what the server refuses: the model's name, the sampling or the messages",
            401: f"set {key} to a key of this server",
            403: f"use a key in {key} that may use this model",
            404: "mend the model's name or the URL, which mostly ends in /v1",
            429: "wait, or see to the account's limits",
        }.get(status, "start the server, or mend its URL")
        return UserError(f"{self.endpoint} cannot be used: {said}", fix=fix)

    def _shown(self, text: str) -> str:
        """Return what a server said on one short line, without the key, which it may have repeated."""
        text = " ".join(text.split())
        text = text.replace(self._key, "***") if self._key else text
        return text if len(text) <= 300 else text[:299] + "…"


def _candidates(options: Sequence[Mapping[str, Any]]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield (options, the same for the trial) with the limit on tokens by each of its names.

    Without a limit the trial has a small one; should the server refuse that, as some models that think do, none.
    """
    for option in options:
        rest = {name: value for name, value in option.items() if name != LIMIT}
        limit = option.get(LIMIT)
        for name in (LIMIT, OLD_LIMIT):
            yield rest | ({name: limit} if limit else {}), rest | {name: limit or TRIAL_TOKENS}
        if not limit:
            yield rest, rest


def _message(body: Any) -> str:
    """Return what an error's body says: OpenAI's, FastAPI's or another shape."""
    if not isinstance(body, dict):
        return str(body or "")
    inner = body.get("error")
    said = inner.get("message") if isinstance(inner, dict) else body.get("message") or body.get("detail") or inner
    return str(said or json.dumps(body))


def connect(endpoint: Endpoint) -> Client:
    """Return the process's client of this endpoint; raises UserError without the openai package, or a key it needs."""
    if importlib.util.find_spec("openai") is None:
        raise UserError("model endpoints need the openai package", fix="pip install 'posttrain[endpoint]'")
    with _starting:  # threads share its count of failures, and its rate
        return _client(endpoint, api_key(endpoint))


@lru_cache(maxsize=64)
def _client(endpoint: Endpoint, key: str) -> Client:
    return Client(endpoint, key)


_starting = threading.Lock()


def _loop() -> asyncio.AbstractEventLoop:
    """Return the event loop that all clients share, and that ends with the process."""
    with _starting:  # lru_cache alone lets two threads that come first start one each
        return _started_loop()


@lru_cache(maxsize=1)
def _started_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="endpoint", daemon=True).start()
    return loop


def read_reply(answer: Any) -> Reply:
    """Return the first choice of a chat completion; raises ValueError for what is none."""
    try:
        choice = answer["choices"][0]
        message, ended, usage = choice["message"], choice.get("finish_reason"), answer.get("usage") or {}
        text = message.get("content") or ""
        if isinstance(text, str):
            return Reply(
                text,
                truncated=ended == "length",
                refusal=message.get("refusal") or ("content filter" if ended == "content_filter" else ""),
                reasoning=message.get("reasoning_content") or message.get("reasoning") or "",
                tool_calls=len(message.get("tool_calls") or ()),
                prompt_tokens=int(usage.get("prompt_tokens") or 0),
                completion_tokens=int(usage.get("completion_tokens") or 0),
            )
    except (LookupError, TypeError, AttributeError):
        pass
    raise ValueError(str(answer))
