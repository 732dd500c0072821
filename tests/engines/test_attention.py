"""Decoding's attention against transformers' own, and its coming and going on a model."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

from transformers.integrations.sdpa_attention import sdpa_attention_forward  # noqa: E402

from posttrain.engines import attention  # noqa: E402
from posttrain.engines.attention import attend, decode_attention  # noqa: E402
from posttrain.engines.sampling import Prompt, Sampling  # noqa: E402
from posttrain.engines.transformers import engine  # noqa: E402
from tests.engines.test_transformers import UNEVEN, Numbers, random_model  # noqa: E402


@pytest.mark.parametrize(("heads", "of_keys"), [(9, 3), (4, 4), (8, 1)])
@pytest.mark.parametrize("masked", [False, True])
def test_it_is_nearly_as_exact_as_the_fused_kernel(heads: int, of_keys: int, masked: bool) -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(5, n, columns, 64) for n, columns in ((heads, 1), (of_keys, 70), (of_keys, 70)))
    mask = (torch.arange(70) >= torch.tensor([0, 3, 69, 40, 1])[:, None])[:, None, None] if masked else None
    module = SimpleNamespace(num_key_value_groups=heads // of_keys, is_causal=True)
    exact = sdpa_attention_forward(module, query, key, value, mask, scaling=0.2)[0]
    rounded = [states.bfloat16() for states in (query, key, value)]
    with torch.inference_mode():
        found = attend(module, *rounded, mask, scaling=0.2)[0]
        fused = sdpa_attention_forward(module, *rounded, mask, scaling=0.2)[0]
    assert found.shape == exact.shape and found.dtype == torch.bfloat16
    assert not torch.equal(found, fused)  # it took its own way
    # The products of queries and keys come rounded, which the fused kernel keeps in float32.
    assert (found - exact).abs().mean() <= 2 * (fused - exact).abs().mean()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_several_queries_and_float32_are_the_fused_kernels(dtype) -> None:
    torch.manual_seed(0)
    module = SimpleNamespace(num_key_value_groups=2, is_causal=True)
    for queries in (1, 7) if dtype == torch.float32 else (7,):
        states = [torch.randn(2, n, 7, 16, dtype=dtype) for n in (4, 2, 2)]
        states[0] = states[0][:, :, :queries]
        with torch.inference_mode():
            assert torch.equal(attend(module, *states, None)[0], sdpa_attention_forward(module, *states, None)[0])


@pytest.mark.parametrize("name", ["LlamaConfig", "Qwen3Config", "MistralConfig", "Gemma3TextConfig"])
def test_a_model_in_bfloat16_decodes_by_it_and_says_the_same(name: str, monkeypatch) -> None:
    """The log-probabilities of what it draws are as near to float32's as those of one pass over the whole text."""
    model = random_model(name)
    exact = random_model(name)
    with torch.no_grad():
        for ours, plain in zip(model.parameters(), exact.parameters(), strict=True):
            plain.copy_(plain.div(4).bfloat16())
            ours.copy_(plain)
    model.to(torch.bfloat16)
    shapes = []
    monkeypatch.setattr(
        attention, "attend", lambda *args, **kwargs: shapes.append(args[1].shape) or attend(*args, **kwargs)
    )
    drawn = dict(
        engine(model, Numbers())([Prompt([], ids) for ids in UNEVEN], Sampling(2, 12, batch_size=5, logprobs=True))
    )
    assert any(shape[2] == 1 for shape in shapes)
    assert model.config._attn_implementation == "sdpa"
    errors, plain_errors = [], []
    for ids, group in ((UNEVEN[i], group) for i, group in drawn.items()):
        for completion in group:
            tokens = torch.tensor([[*ids, *completion.ids]])
            with torch.no_grad():
                said = [
                    torch.log_softmax(one(tokens).logits[0, len(ids) - 1 : -1].float(), -1) for one in (exact, model)
                ]
            precise, whole = (one.gather(-1, tokens[0, len(ids) :, None])[:, 0] for one in said)
            errors.append((torch.tensor(completion.logprobs) - precise).abs())
            plain_errors.append((whole - precise).abs())
    assert torch.cat(errors).mean() <= 1.5 * torch.cat(plain_errors).mean()


def test_another_implementation_is_left_alone() -> None:
    model = random_model("LlamaConfig")
    model.set_attn_implementation("eager")
    with decode_attention(model):
        assert model.config._attn_implementation == "eager"
