from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from posttrain.endpoint import Endpoint, parse_endpoint
from posttrain.engines import transformers as local
from posttrain.engines.endpoint import engine
from posttrain.engines.sampling import Completion, Prompt, Sampling, seed_of
from posttrain.errors import UserError
from posttrain.model.load import load_model
from posttrain.model.resolve import resolve
from posttrain.model.tokenizer import load_tokenizer
from posttrain.recipe.schema import Model

PROMPTS = [Prompt([{"role": "user", "content": f"What is {n} + 1?"}]) for n in range(3)]
TWO = Sampling(samples=2, max_new_tokens=8, temperature=0.7, top_p=0.9, seed=5, stop=("\n\n",))


def completions(server: Any, prompts: list[Prompt], sampling: Sampling, **settings: Any) -> dict[int, list[Completion]]:
    endpoint = Endpoint(server.base_url, "m", **{"timeout_seconds": 2, "max_retries": 0, **settings})
    found = list(engine(endpoint)(prompts, sampling))
    assert len(found) == len(dict(found))
    return dict(found)


def test_each_prompt_gets_its_samples_with_seeds_of_their_own(chat_server) -> None:
    chat_server.script({"content": "4", "usage": {"completion_tokens": 2}})
    found = completions(chat_server, PROMPTS, TWO)
    assert found == {index: [Completion("4", 2, False)] * 2 for index in range(3)}
    _, *bodies = (request["body"] for request in chat_server.seen())
    first = {"model": "m", "messages": PROMPTS[0].messages, "temperature": 0.7, "top_p": 0.9, "stop": ["\n\n"]}
    first |= {"max_completion_tokens": 8, "seed": seed_of(PROMPTS[0], 0, 5)}
    assert first in bodies
    assert len({body["seed"] for body in bodies}) == len(bodies) == 6


def test_what_a_server_refuses_is_left_out_where_it_means_nothing(chat_server) -> None:
    greedy = Sampling(samples=1, max_new_tokens=8)
    chat_server.script({"refuses": ["temperature", "top_p", "max_completion_tokens", "seed"], "content": "4"})
    assert completions(chat_server, PROMPTS[:1], greedy)[0][0].text == "4"
    assert chat_server.seen()[-1]["body"] == {"model": "m", "messages": PROMPTS[0].messages, "max_tokens": 8}
    with pytest.raises(UserError, match="Unsupported parameter: temperature"):
        completions(chat_server, PROMPTS[:1], Sampling(samples=1, max_new_tokens=8, temperature=0))


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ({"content": "4", "finish_reason": "length"}, Completion("4", 3, True)),
        ({"content": "4", "message": {"reasoning_content": "3 + 1"}}, Completion("<think>3 + 1</think>4", 3, False)),
        (
            {"content": None, "message": {"reasoning": "3 +"}, "finish_reason": "length"},
            Completion("<think>3 +", 3, True),
        ),
        ({"content": None, "refusal": "I will not."}, Completion("I will not.", 3, False)),
        ({"status": 500, "content": "no"}, Completion("", 0, False, "HTTP 500: no")),
        ({"status": 400, "content": "too long"}, Completion("", 0, False, "HTTP 400: too long")),
    ],
)
def test_how_a_completion_ended(chat_server, step: dict[str, Any], expected: Completion) -> None:
    chat_server.script({}, step)
    assert completions(chat_server, PROMPTS[:1], Sampling(samples=1, max_new_tokens=8)) == {0: [expected]}


def test_a_tool_call_is_sent_in_the_protocols_shape_and_received_as_an_error(chat_server) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": {"a": 3}}}
    tool = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
    messages: list[dict[str, Any]] = [
        {"role": "assistant", "content": "", "tool_calls": [call], "weight": 0},
        {"role": "tool", "content": "4", "tool_call_id": "1"},
    ]
    chat_server.script({}, {"content": None, "message": {"tool_calls": [call]}})
    found = completions(chat_server, [Prompt(messages, tools=[tool])], Sampling(samples=1, max_new_tokens=8))
    assert found[0][0].error.startswith("the reply calls a tool")
    body = chat_server.seen()[-1]["body"]
    assert body["tools"] == [tool] and "weight" not in body["messages"][0]
    assert body["messages"][0]["tool_calls"][0]["function"]["arguments"] == '{"a": 3}'


def test_groups_come_as_they_end_and_no_more_are_asked_at_once_than_the_batch_size(chat_server) -> None:
    chat_server.script({"delay": 0.3})
    started = time.monotonic()
    groups = engine(Endpoint(chat_server.base_url, "m"))(PROMPTS, Sampling(samples=2, max_new_tokens=8, batch_size=2))
    assert next(groups)[0] == 0
    assert len(chat_server.seen()) < 7
    assert [index for index, _ in groups] == [1, 2]
    assert time.monotonic() - started >= 0.3 * 4  # the trial, and three times two


def test_what_nobody_waits_for_is_not_asked(chat_server) -> None:
    chat_server.script({"delay": 0.1})
    sampling = Sampling(samples=1, max_new_tokens=8, batch_size=1)
    groups = engine(Endpoint(chat_server.base_url, "m"))(PROMPTS * 10, sampling)
    next(groups)
    groups.close()  # type: ignore[attr-defined]
    asked = len(chat_server.seen())
    time.sleep(0.5)
    assert len(chat_server.seen()) <= asked + 1 < 31


def test_an_endpoint_that_dies_leaves_errors(chat_server) -> None:
    chat_server.script({"content": "4", "delay": 0.05})
    groups = engine(Endpoint(chat_server.base_url, "m", max_retries=1))(
        PROMPTS * 20, Sampling(samples=4, max_new_tokens=8, batch_size=8)
    )
    found = [next(groups)]
    chat_server.kill()
    started = time.monotonic()
    found += list(groups)
    assert time.monotonic() - started < 10
    assert sorted(index for index, _ in found) == list(range(60))
    assert all(len(group) == 4 for _, group in found)
    errors = [completion for _, group in found for completion in group if completion.error]
    assert len(errors) > 150 and {(completion.text, completion.tokens) for completion in errors} == {("", 0)}


@pytest.mark.slow
def test_transformers_serve_says_what_the_model_says_here(transformers_server: tuple[str, str]) -> None:
    url, model = transformers_server
    endpoint = parse_endpoint(f"{url}#{model}")
    assert endpoint is not None
    parent = resolve("builtin:tiny")
    tokenizer = load_tokenizer(parent, Model())
    greedy = Sampling(samples=1, max_new_tokens=24, temperature=0, batch_size=4)
    asked = [[{"role": "user", "content": f"What is {n} + 5?"}] for n in range(3)]
    ids = [tokenizer.apply_chat_template(messages, add_generation_prompt=True)["input_ids"] for messages in asked]
    prompts = [Prompt(messages, row) for messages, row in zip(asked, ids, strict=True)]
    here = dict(local.engine(load_model(parent, Model(dtype="float32"), tokenizer), tokenizer)(prompts, greedy))
    without = {index: [replace(one, ids=()) for one in group] for index, group in here.items()}  # a server sends none
    assert dict(engine(endpoint)(prompts, greedy)) == without
    assert {completion.error for group in here.values() for completion in group} == {""}


def test_samples_stand_in_their_own_order_whichever_came_first(chat_server) -> None:
    """A reply repeats the seed that it was asked with; each comes after a random delay."""
    chat_server.script({"echo": "seed", "jitter": 0.2})
    many = replace(TWO, samples=6)
    found = completions(chat_server, PROMPTS, many)
    for index, prompt in enumerate(PROMPTS):
        assert [row.text for row in found[index]] == [str(seed_of(prompt, n, 5)) for n in range(6)]
