"""Batched sampling against one prompt at a time, and its manners: seeds, random state, stops."""

from __future__ import annotations

import pytest

from posttrain.engines.sampling import Completion, Prompt, Sampling
from posttrain.engines.transformers import engine

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def tiny():
    """The shipped model and its tokenizer."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from posttrain.model.resolve import resolve

    path = resolve("builtin:tiny").path
    return AutoModelForCausalLM.from_pretrained(path), AutoTokenizer.from_pretrained(path)


def sample(model, tokenizer, ids: list[list[int]], sampling: Sampling) -> list[list[Completion]]:
    """Return the completions in the prompts' order."""
    drawn = dict(engine(model, tokenizer)([Prompt([], one) for one in ids], sampling))
    return [drawn[i] for i in range(len(ids))]


def prompts(tokenizer, *texts: str) -> list[list[int]]:
    return [
        tokenizer.apply_chat_template([{"role": "user", "content": text}], add_generation_prompt=True)["input_ids"]
        for text in texts
    ]


ASKED = (
    "Hello!",
    "Tom has 12 apples and buys 7 more. How many apples does Tom have now?",
    "Say blue backwards.",
)


def greedy_by_hand(model, ids: list[int], stop: int, most: int) -> list[int]:
    """The most likely token again and again: no padding, no cache, no generate."""
    new: list[int] = []
    with torch.no_grad():
        while len(new) < most and (not new or new[-1] != stop):
            logits = model(torch.tensor([ids + new])).logits[0, -1]
            new.append(int(logits.argmax()))
    return new


def test_greedy_in_a_padded_batch_is_greedy_alone(tiny) -> None:
    model, tokenizer = tiny
    ids = prompts(tokenizer, *ASKED)
    drawn = sample(model, tokenizer, ids, Sampling(samples=1, max_new_tokens=24, temperature=0.0))
    for one, (completion,) in zip(ids, drawn, strict=True):
        alone = greedy_by_hand(model, one, tokenizer.eos_token_id, 24)
        assert completion.text == tokenizer.decode(alone, skip_special_tokens=True)
        assert completion.tokens == len(alone)
        assert completion.truncated == (alone[-1] != tokenizer.eos_token_id)


def test_the_seed_decides_and_the_callers_random_state_is_left_alone(tiny) -> None:
    model, tokenizer = tiny
    ids = prompts(tokenizer, *ASKED)
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = sample(model, tokenizer, ids, Sampling(samples=4, max_new_tokens=16, seed=5, batch_size=5))
    assert torch.equal(before, torch.random.get_rng_state())
    again = sample(model, tokenizer, ids, Sampling(samples=4, max_new_tokens=16, seed=5, batch_size=5))
    other = sample(model, tokenizer, ids, Sampling(samples=4, max_new_tokens=16, seed=6, batch_size=5))
    assert first == again != other
    assert [len(group) for group in first] == [4, 4, 4]


def test_samples_follow_the_models_own_distribution(tiny) -> None:
    """First tokens of 2,000 samples against the softmax: total variation within sampling noise."""
    model, tokenizer = tiny
    (ids,) = prompts(tokenizer, ASKED[0])
    with torch.no_grad():
        expected = torch.softmax(model(torch.tensor([ids])).logits[0, -1], -1)
    drawn = sample(model, tokenizer, [ids], Sampling(samples=2000, max_new_tokens=1, batch_size=2000))
    likely = expected.topk(3)
    for share, token in zip(likely.values.tolist(), likely.indices.tolist(), strict=True):
        text = tokenizer.decode([token], skip_special_tokens=True)
        same = sum(completion.text == text for completion in drawn[0]) / 2000
        assert abs(same - share) < 4 * (share * (1 - share) / 2000) ** 0.5 + 0.01


def test_groups_come_as_they_are_finished(tiny) -> None:
    model, tokenizer = tiny
    asked = [Prompt([], ids) for ids in prompts(tokenizer, *ASKED)]
    drawn = list(engine(model, tokenizer)(asked, Sampling(samples=3, max_new_tokens=2, batch_size=4)))
    assert sorted(index for index, _ in drawn) == [0, 1, 2]
    assert [len(group) for _, group in drawn] == [3, 3, 3]
