"""Sampling from an OpenAI-compatible endpoint: a server of your own, or a hosted model."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, as_completed
from typing import Any

from posttrain.endpoint import LIMIT, Endpoint, EndpointError, Reply, connect
from posttrain.engines.sampling import Completion, Engine, Prompt, Sampling, seed_of


def engine(endpoint: Endpoint) -> Engine:
    """Return the engine that asks the endpoint, for `Sampling.batch_size` completions at a time.

    A completion that the endpoint did not give has an `error`. Raises UserError, before the first prompt, as
    `agreed` does.
    """

    def sample(prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[tuple[int, list[Completion]]]:
        client, options = connect(endpoint), agreed(endpoint, sampling)
        gate = asyncio.Semaphore(sampling.batch_size)
        asked: dict[Future[Reply], tuple[int, int]] = {
            client.submit(_sent(prompt), _of(prompt, n, options, sampling.seed), gate): (index, n)
            for index, prompt in enumerate(prompts)
            for n in range(sampling.samples)
        }
        done: dict[int, dict[int, Completion]] = {index: {} for index in range(len(prompts))}
        try:
            for future in as_completed(asked):
                index, n = asked[future]
                done[index][n] = _completion(future)
                if len(done[index]) == sampling.samples:  # in their own order, whichever came first
                    yield index, [completion for _, completion in sorted(done.pop(index).items())]
        finally:
            for future in asked:
                future.cancel()

    return sample


def agreed(endpoint: Endpoint, sampling: Sampling) -> dict[str, Any]:
    """Return the parameters that the endpoint takes for this sampling, by a trial of a few tokens.

    Raises UserError when it cannot be asked, or does not take what the sampling needs.
    """
    return connect(endpoint).agree([{"role": "user", "content": "Hello"}], _options(sampling))


def _options(sampling: Sampling) -> list[dict[str, Any]]:
    """Return the parameters to ask with, best first: models that think take no temperature, some servers no seed."""
    drawn: dict[str, Any] = {"temperature": sampling.temperature, "top_p": sampling.top_p, "seed": sampling.seed}
    rest: dict[str, Any] = {LIMIT: sampling.max_new_tokens}
    if sampling.stop:
        rest["stop"] = list(sampling.stop)
    # 1 is what a server takes by itself; it is left out only where it is refused.
    needed = {name: value for name, value in drawn.items() if value != 1 or name == "seed"}
    unseeded = {name: value for name, value in needed.items() if name != "seed"}
    return [rest | drawn, rest | needed, rest | unseeded]


def _of(prompt: Prompt, sample: int, options: dict[str, Any], seed: int) -> dict[str, Any]:
    """Return the parameters of one sample of one prompt."""
    own: dict[str, Any] = {"seed": seed_of(prompt, sample, seed)} if "seed" in options else {}
    return options | own | ({"tools": prompt.tools} if prompt.tools else {})


def _completion(asked: Future[Reply]) -> Completion:
    """Return the completion as a model that runs here would have written it, its thinking in tags."""
    try:
        reply = asked.result()
    except EndpointError as error:
        return Completion("", 0, False, error=str(error))
    if reply.tool_calls:
        return Completion("", reply.completion_tokens, False, error="the reply calls a tool, and is no text to grade")
    text = reply.text or reply.refusal
    if reply.reasoning:
        text = f"<think>{reply.reasoning}" + ("" if reply.truncated and not text else f"</think>{text}")
    return Completion(text, reply.completion_tokens, reply.truncated)


def _sent(prompt: Prompt) -> list[dict[str, Any]]:
    """Return the messages with the protocol's own keys alone, and the arguments of tool calls as JSON text."""
    messages: list[dict[str, Any]] = []
    for message in prompt.messages:
        kept: dict[str, Any] = {
            key: message[key] for key in ("role", "content", "name", "tool_call_id") if key in message
        }
        if calls := message.get("tool_calls"):
            kept["tool_calls"] = [{**call, "function": _with_text(call["function"])} for call in calls]
        messages.append(kept)
    return messages


def _with_text(function: dict[str, Any]) -> dict[str, Any]:
    arguments = function["arguments"]
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return {**function, "arguments": text}
