"""A model in training whose copy in vLLM draws by the weights it took last."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from posttrain.engines.sampling import Completion, Prompt, Sampling  # noqa: E402
from posttrain.engines.transformers import engine  # noqa: E402
from posttrain.model.load import load_model  # noqa: E402
from posttrain.model.resolve import resolve  # noqa: E402
from posttrain.model.tokenizer import load_tokenizer  # noqa: E402
from posttrain.recipe.schema import Model  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("vllm") is None, reason="vllm is not installed"),
]

ASKED = ("Hello!", "Tom has 12 apples and buys 7 more. How many apples does Tom have now?", "What is 23 + 14?")
GREEDY = Sampling(1, max_new_tokens=24, temperature=0.0, logprobs=True)


def shaken(model: Any, seed: int) -> None:
    """Change all weights, enough for other completions."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.05)


def same(drawn: dict[int, list[Completion]], expected: dict[int, list[Completion]]) -> bool:
    """Whether the tokens are the same, and then their log-probabilities up to rounding."""
    if any(drawn[index][0].ids != expected[index][0].ids for index in expected):
        return False
    for index, (completion,) in expected.items():
        assert drawn[index][0].logprobs == pytest.approx(completion.logprobs, abs=1e-4)
    return True


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_it_draws_by_the_weights_it_took_last(temperature: float, monkeypatch: pytest.MonkeyPatch) -> None:
    from posttrain.engines.policy import Policy

    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")  # GiB
    settings = Model(dtype="float32")
    parent = resolve("builtin:tiny")
    tokenizer = load_tokenizer(parent, settings)
    model = load_model(parent, settings, tokenizer)
    turns = [[{"role": "user", "content": text}] for text in ASKED]
    ids = [tokenizer.apply_chat_template(t, add_generation_prompt=True)["input_ids"] for t in turns]
    prompts = [Prompt([], each) for each in ids]
    ours = engine(model, tokenizer)
    policy = Policy(model, tokenizer, "float32", length=128, rows=8, memory=0.3, processed=temperature != 1)
    state, threads = torch.random.get_rng_state(), torch.set_num_threads
    first = dict(ours(prompts, GREEDY))
    policy.take(model)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.set_num_threads is threads
    with policy.drawing() as sample:
        assert same(dict(sample(prompts, GREEDY)), first)
    shaken(model, 1)
    second = dict(ours(prompts, GREEDY))
    assert not same(second, first)
    with policy.drawing() as sample:
        assert same(dict(sample(prompts, GREEDY)), first)
    policy.take(model)
    drawn = Sampling(3, max_new_tokens=16, temperature=temperature, seed=5, logprobs=True)
    with policy.drawing() as sample:
        assert same(dict(sample(prompts, GREEDY)), second)
        for index, group in sample(prompts, drawn):
            for completion in group:
                expected = logprobs_of(model, ids[index], completion.ids, temperature)
                assert completion.logprobs == pytest.approx(expected, abs=1e-4)


def logprobs_of(model: Any, prompt: list[int], completion: tuple[int, ...], temperature: float) -> list[float]:
    """Return what the model gives each token, all of them in one pass."""
    with torch.no_grad():
        logits = model(torch.tensor([[*prompt, *completion]])).logits[0, len(prompt) - 1 : -1]
    logps = torch.log_softmax(logits / temperature, -1)
    return [float(row[token]) for row, token in zip(logps, completion, strict=True)]
