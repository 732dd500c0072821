"""The running batch against one prompt at a time without a cache, and its manners: seeds, random state, stops."""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

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
    "Anna has 30 pens and gives 4 away. How many are left?",
    "What is 23 + 14?",
)


def greedy_by_hand(model, ids: list[int], stop: int, most: int) -> list[int]:
    """The most likely token again and again: no padding, no cache, no generate."""
    new: list[int] = []
    with torch.no_grad():
        while len(new) < most and (not new or new[-1] != stop):
            logits = model(torch.tensor([ids + new]), use_cache=False).logits[0, -1]
            new.append(int(logits.argmax()))
    return new


@pytest.mark.parametrize("rows", [1, 2, 128])
def test_greedy_in_a_padded_batch_is_greedy_alone(tiny, rows: int) -> None:
    model, tokenizer = tiny
    ids = prompts(tokenizer, *ASKED)
    drawn = sample(model, tokenizer, ids, Sampling(1, max_new_tokens=24, temperature=0.0, batch_size=rows))
    for one, (completion,) in zip(ids, drawn, strict=True):
        alone = greedy_by_hand(model, one, tokenizer.eos_token_id, 24)
        assert completion.text == tokenizer.decode(alone, skip_special_tokens=True)
        assert completion.tokens == len(alone)
        assert completion.truncated == (alone[-1] != tokenizer.eos_token_id)


SHAPE = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": 1,
}
WINDOW = {"sliding_window": 6}
RANDOM: dict[str, dict[str, Any]] = {
    "LlamaConfig": {},
    "Qwen2Config": {},
    "Qwen3Config": {"head_dim": 8},
    "GPTNeoXConfig": {},
    "BloomConfig": {},  # takes no position_ids: its positions are a bias that it counts from the mask
    "MistralConfig": WINDOW,
    "Gemma3TextConfig": {
        **WINDOW,
        "head_dim": 8,
        "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
    },
    "Qwen3NextConfig": {  # linear attention: decoded by generate
        "head_dim": 8,
        "layer_types": ["linear_attention", "linear_attention", "full_attention"],
        "linear_num_value_heads": 2,
        "linear_num_key_heads": 2,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
        "num_experts": 0,
        "mlp_only_layers": [0, 1, 2],
    },
}


def random_model(name: str, **settings: Any) -> Any:
    """Return a small model with random weights, large enough ones to make it choose."""
    import transformers

    torch.manual_seed(0)
    config = getattr(transformers, name)(**{**SHAPE, **RANDOM[name], **settings})
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(6)
    model.generation_config.eos_token_id = 1
    return model


class Numbers:
    """A tokenizer whose text is the token ids."""

    pad_token_id, eos_token_id = 0, 1

    def decode(self, ids: list[int], skip_special_tokens: bool = True) -> str:
        return "".join(f"<{id}>" for id in ids)


UNEVEN = [[(7 * i + 3 * j) % 90 + 4 for j in range(length)] for i, length in enumerate((3, 14, 9, 5, 21, 9, 2))]


@pytest.mark.parametrize("name", RANDOM)
def test_every_architecture_decodes_as_it_does_alone(name: str, capsys) -> None:
    """Rows join, leave and pass the sliding window; each is what the model says without a batch and without a cache."""
    from posttrain.engines.transformers import _say_once

    _say_once.cache_clear()
    model = random_model(name)
    drawn = sample(model, Numbers(), UNEVEN, Sampling(2, max_new_tokens=16, temperature=0.0, batch_size=3))
    for ids, (completion, same) in zip(UNEVEN, drawn, strict=True):
        assert completion == same
        assert completion.text == Numbers().decode(greedy_by_hand(model, ids, 1, 16))
    assert ("cannot be cut" in capsys.readouterr().err) == (name == "Qwen3NextConfig")


@pytest.mark.parametrize("name", ["LlamaConfig", "Gemma3TextConfig", "Qwen3NextConfig"])
def test_draws_do_not_depend_on_the_batch(name: str) -> None:
    model = random_model(name)
    drawn = [
        sample(model, Numbers(), UNEVEN, Sampling(3, max_new_tokens=12, top_p=0.9, batch_size=rows, seed=3))
        for rows in (1, 3, 128)
    ]
    assert drawn[0] == drawn[1] == drawn[2]
    alone = sample(model, Numbers(), UNEVEN[2:3], Sampling(3, max_new_tokens=12, top_p=0.9, seed=3))
    assert alone[0] == drawn[0][2]
    assert len({completion.text for group in drawn[0] for completion in group}) > 15
    shorter = sample(model, Numbers(), UNEVEN, Sampling(3, max_new_tokens=4, top_p=0.9, seed=3))
    for group, cut in zip(drawn[0], shorter, strict=True):
        assert all(long.text.startswith(short.text) for long, short in zip(group, cut, strict=True))


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
    assert [len(group) for group in first] == [4] * 5


def every_text(model, ids: list[int], longest: int, top_p: float) -> dict[tuple[int, ...], float]:
    """Return each completion's probability, token by token without a cache; token 1 ends one."""
    done, open_ones = {}, {(): 1.0}
    for _ in range(longest):
        longer = {}
        for text, share in open_ones.items():
            with torch.no_grad():
                shares = torch.softmax(model(torch.tensor([[*ids, *text]])).logits[0, -1].float(), -1).tolist()
            kept, reached = {}, 0.0
            for token in sorted(range(len(shares)), key=lambda token: -shares[token]):
                if reached < top_p:
                    kept[token] = shares[token]
                    reached += shares[token]
            for token, of_it in kept.items():
                (done if token == 1 else longer)[(*text, token)] = share * of_it / reached
        open_ones = longer
    return done | open_ones


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "top_p"),
    # In bfloat16 rounding moves the edge of a nucleus, and with it what can be drawn at all.
    [(torch.float32, 1.0), (torch.float32, 0.8), (torch.bfloat16, 1.0)],
)
@pytest.mark.parametrize("name", ["LlamaConfig", "Gemma3TextConfig"])
def test_whole_completions_come_as_often_as_they_should(name: str, dtype, top_p: float) -> None:
    """All of up to three tokens of a vocabulary of six, 4,000 samples a prompt, by Pearson's chi-square."""
    model = random_model(name, vocab_size=6, num_hidden_layers=2, **({"layer_types": None} if "Gemma" in name else {}))
    model.to(dtype)
    n, prompts = 4000, [[2, 3, 4, 5, 2, 2, 3], [5, 2]]
    drawn = sample(model, Numbers(), prompts, Sampling(n, max_new_tokens=3, top_p=top_p, batch_size=500))
    for ids, group in zip(prompts, drawn, strict=True):
        expected = every_text(model, ids, 3, top_p)
        assert sum(expected.values()) == pytest.approx(1, abs=1e-5)
        counts = Counter(completion.ids for completion in group)
        assert counts.keys() <= expected.keys()
        often = {text: n * share for text, share in expected.items() if n * share >= 5}
        cells = [(counts[text], mean) for text, mean in often.items()]
        cells.append((n - sum(count for count, _ in cells), n - sum(mean for _, mean in cells)))
        statistic = sum((count - mean) ** 2 / mean for count, mean in cells if mean > 1)
        freedom = len(often)
        assert freedom >= 10
        assert statistic < freedom + 3.5 * (2 * freedom) ** 0.5  # about 1 in 2,000


def test_samples_follow_the_models_own_distribution() -> None:
    """First and second tokens of 4,000 samples against the softmax: each count within 5 standard deviations."""
    model, ids, n = random_model("LlamaConfig"), UNEVEN[1], 4000
    drawn = sample(model, Numbers(), [ids], Sampling(n, max_new_tokens=2, temperature=2.0, batch_size=n))
    texts = [completion.text for completion in drawn[0]]
    with torch.no_grad():
        first = torch.softmax(model(torch.tensor([ids])).logits[0, -1] / 2.0, -1)
        followed = int(first.argmax())
        second = torch.softmax(model(torch.tensor([[*ids, followed]])).logits[0, -1] / 2.0, -1)
    of_it = [text for text in texts if text.startswith(f"<{followed}>")]
    for expected, counted in (
        (first, [text.split(">")[0] + ">" for text in texts]),
        (second, [text.removeprefix(f"<{followed}>") for text in of_it]),
    ):
        for token, share in enumerate(expected.tolist()):
            spread = (share * (1 - share) * len(counted)) ** 0.5
            assert abs(counted.count(f"<{token}>") - share * len(counted)) <= 5 * spread + 1


def test_a_prompt_is_prefilled_once_for_all_its_samples(tiny) -> None:
    model, tokenizer = tiny
    seen: list[tuple[int, ...]] = []
    hook = model.model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    sample(model, tokenizer, prompts(tokenizer, ASKED[1]), Sampling(samples=16, max_new_tokens=4))
    hook.remove()
    assert seen[0][0] == 1 and seen[0][1] > 1
    assert seen[1] == (16, 1)


def test_no_row_is_decoded_after_its_end() -> None:
    model = random_model("LlamaConfig")
    model.generation_config.eos_token_id = list(range(1, 96, 8))
    seen: list[int] = []
    hook = model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    (group,) = sample(model, Numbers(), UNEVEN[:1], Sampling(40, max_new_tokens=12, batch_size=64))
    hook.remove()
    longest = max(completion.tokens for completion in group)
    assert len({completion.tokens for completion in group}) > 5
    assert seen == [1, *(sum(completion.tokens > n for completion in group) for n in range(1, longest))]


def test_groups_come_as_they_are_finished(tiny) -> None:
    model, tokenizer = tiny
    asked = [Prompt([], ids) for ids in prompts(tokenizer, *ASKED)]
    drawn = list(engine(model, tokenizer)(asked, Sampling(samples=3, max_new_tokens=2, batch_size=4)))
    assert sorted(index for index, _ in drawn) == [0, 1, 2, 3, 4]
    assert [len(group) for _, group in drawn] == [3] * 5


@pytest.mark.parametrize("name", ["LlamaConfig", "Qwen3NextConfig"])
def test_a_stop_string_ends_a_completion_and_is_cut_off(name: str) -> None:
    model = random_model(name)
    (whole,) = sample(model, Numbers(), UNEVEN[:1], Sampling(1, max_new_tokens=16, temperature=0.0))[0]
    pieces = whole.text.split(">")
    stop = f"{pieces[5]}>{pieces[6]}>"
    (cut,) = sample(model, Numbers(), UNEVEN[:1], Sampling(1, max_new_tokens=16, temperature=0.0, stop=("no", stop)))[0]
    assert cut.text == whole.text[: whole.text.index(stop)]
    assert cut.tokens == whole.text[: whole.text.index(stop) + len(stop)].count(">")
    assert not cut.truncated and whole.truncated


def test_the_model_is_left_as_it_was_found_also_when_the_caller_stops_early(tiny) -> None:
    model, tokenizer = copy.deepcopy(tiny[0]), tiny[1]
    model.train()
    model.model.layers[1].eval()
    model.config.use_cache = False
    modes = [module.training for module in model.modules()]
    asked = [Prompt([], ids) for ids in prompts(tokenizer, *ASKED)]
    running = engine(model, tokenizer)(asked, Sampling(samples=1, max_new_tokens=8, batch_size=2))
    next(running)
    assert not model.training and not torch.is_inference_mode_enabled()
    running.close()
    assert [module.training for module in model.modules()] == modes
    assert model.config.use_cache is False
    loss = model(torch.tensor([asked[0].ids]), labels=torch.tensor([asked[0].ids])).loss
    loss.backward()


def test_an_adapter_decodes_as_it_does_when_merged(tiny) -> None:
    from peft import LoraConfig, get_peft_model

    model, tokenizer = copy.deepcopy(tiny[0]), tiny[1]
    adapted = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear"))
    torch.manual_seed(0)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    ids = prompts(tokenizer, *ASKED)
    sampling = Sampling(samples=2, max_new_tokens=12, seed=1)
    drawn = sample(adapted, tokenizer, ids, sampling)
    assert drawn == sample(adapted.merge_and_unload(), tokenizer, ids, sampling)
    assert drawn != sample(*tiny, ids, sampling)


@pytest.mark.parametrize("name", ["LlamaConfig", "Qwen3NextConfig"])
def test_running_out_of_memory_halves_the_batch_and_changes_no_draw(name: str, capsys) -> None:
    model = random_model(name)
    sampling = Sampling(3, max_new_tokens=6, batch_size=16, seed=2)
    expected = sample(model, Numbers(), UNEVEN, sampling)

    def full(module, args, kwargs) -> None:
        if kwargs["input_ids"].shape[0] > 5:
            raise torch.OutOfMemoryError("CUDA out of memory")

    hook = model.register_forward_pre_hook(full, with_kwargs=True)
    assert sample(model, Numbers(), UNEVEN, sampling) == expected
    hook.remove()
    assert "out of GPU memory with 16 completions together: going on with 8" in capsys.readouterr().err


def test_memory_for_not_even_one_completion_is_said(tiny) -> None:
    from posttrain.errors import UserError

    model, tokenizer = copy.deepcopy(tiny[0]), tiny[1]

    def full(module, args) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    model.register_forward_pre_hook(full)
    with pytest.raises(UserError, match="too little memory to decode one completion"):
        sample(model, tokenizer, prompts(tokenizer, "Hello!"), Sampling(samples=1, max_new_tokens=4))
    assert not model.training


@pytest.mark.parametrize("name", ["LlamaConfig", "Gemma3TextConfig", "Qwen3NextConfig"])
@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.7, 0.8), (0.0, 1.0)])
def test_tokens_come_with_their_log_probabilities(name: str, temperature: float, top_p: float) -> None:
    """Against the log-softmax over the whole text, as a trainer recomputes it, whatever the nucleus cut off."""
    model = random_model(name)
    model.generation_config.eos_token_id = stops = list(range(1, 96, 8))
    sampling = Sampling(2, 12, temperature, top_p, batch_size=3, seed=4, logprobs=True)
    drawn = sample(model, Numbers(), UNEVEN, sampling)
    assert any(completion.ids[-1] in stops for group in drawn for completion in group)
    for ids, group in zip(UNEVEN, drawn, strict=True):
        for completion in group:
            assert completion.text == Numbers().decode(list(completion.ids))
            assert len(completion.logprobs) == len(completion.ids) == completion.tokens
            with torch.no_grad():
                logits = model(torch.tensor([[*ids, *completion.ids]])).logits[0, len(ids) - 1 : -1]
            expected = torch.log_softmax(logits / (temperature or 1.0), -1)
            expected = expected.gather(-1, torch.tensor(completion.ids)[:, None])[:, 0]
            assert torch.allclose(torch.tensor(completion.logprobs), expected, rtol=1e-5, atol=1e-5)
    silent = sample(model, Numbers(), UNEVEN, Sampling(2, 12, temperature, top_p, batch_size=3, seed=4))
    assert [[c.ids for c in group] for group in silent] == [[c.ids for c in group] for group in drawn]
    assert all(completion.logprobs is None for group in silent for completion in group)
