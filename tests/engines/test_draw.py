"""Draws worked out by hand."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from posttrain.engines.draw import draw, nucleus, uniforms  # noqa: E402


def drawn(shares: list[float], number: float, temperature: float = 1.0, top_p: float = 1.0) -> int:
    logits = torch.tensor([shares]).log()
    return int(draw(logits, torch.tensor([number]), temperature=temperature, top_p=top_p)[0])


def test_the_number_is_looked_up_in_the_cumulative_distribution() -> None:
    shares = [0.25, 0.0, 0.5, 0.25]  # cumulative: 0.25 0.25 0.75 1
    assert [drawn(shares, number) for number in (0.0, 0.2499, 0.2501, 0.7499, 0.7501)] == [0, 0, 2, 2, 3]


def test_the_largest_number_draws_no_token_without_weight() -> None:
    assert drawn([0.5, 0.5, 0.0, 0.0], 1 - 2**-24) == 1


def test_temperature_sharpens_before_the_nucleus() -> None:
    # Temperature 0.5 squares the shares: 0.36, 0.16, 0.04 of 0.56, that is 0.643, 0.286, 0.071.
    shares = [0.6, 0.4, 0.2]
    assert [drawn(shares, number, temperature=0.5) for number in (0.642, 0.644, 0.928, 0.93)] == [0, 1, 1, 2]
    assert drawn(shares, 0.999, temperature=0.5, top_p=0.6) == 0
    assert drawn(shares, 0.999, temperature=0.5, top_p=0.7) == 1


@pytest.mark.parametrize("size", [5, 256, 700, 1024])
def test_each_token_has_its_own_share_of_the_numbers(size: int) -> None:
    """Two numbers in the middle of what each token has, its neighbours' included, over blocks and what is left over."""
    torch.manual_seed(0)
    weights = torch.rand(size, dtype=torch.float64) + 0.5
    weights[1::7] = 0.0
    weights /= weights.sum()
    above = weights.cumsum(0)
    likely = weights.nonzero()[:, 0]
    logits = weights.float().log().expand(len(likely), size)
    for share in (0.01, 0.99):
        numbers = (above - weights * (1 - share))[likely].float()
        tokens, said = draw(logits, numbers, temperature=1.0, top_p=1.0, logprobs=True)
        assert torch.equal(tokens, likely)
        assert torch.allclose(said, weights[likely].log().float(), atol=1e-6)


def test_temperature_zero_takes_the_most_likely() -> None:
    assert drawn([0.2, 0.5, 0.3], 0.99, temperature=0.0) == 1


def test_the_nucleus_is_the_fewest_likely_tokens_that_reach_top_p() -> None:
    weights = torch.tensor([[0.1, 0.4, 0.2, 0.3]])
    for top_p, kept in ((0.39, [1]), (0.41, [1, 3]), (0.69, [1, 3]), (0.71, [1, 2, 3]), (0.95, [0, 1, 2, 3])):
        assert nucleus(weights, top_p)[0].nonzero().flatten().tolist() == kept
    assert torch.equal(nucleus(weights, 0.71)[0], torch.tensor([0.0, 0.4, 0.2, 0.3]))


def test_a_nucleus_larger_than_the_first_look_is_the_same_as_transformers_finds() -> None:
    from transformers import TopPLogitsWarper

    torch.manual_seed(0)
    logits = torch.randn(5, 2000)
    for top_p in (0.05, 0.5, 0.97):
        expected = TopPLogitsWarper(top_p)(None, logits).isfinite()
        assert torch.equal(nucleus(logits.softmax(-1), top_p) > 0, expected)


def test_fewer_numbers_of_a_seed_are_the_first_of_more() -> None:
    state = torch.random.get_rng_state()
    assert torch.equal(uniforms(7, 5), uniforms(7, 900)[:5])
    assert not torch.equal(uniforms(7, 5), uniforms(8, 5))
    assert torch.equal(state, torch.random.get_rng_state())
