"""Linear layers on packed weights against the layers themselves."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from posttrain.engines.packed import packed_linears  # noqa: E402


class Wider(nn.Linear):
    """A layer with a forward of its own, as quantized ones have."""

    def forward(self, states):
        return super().forward(states) + 1


@pytest.fixture
def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(48, 96), nn.Linear(96, 40, bias=False), Wider(40, 24))


@pytest.mark.parametrize("shape", [(1, 48), (16, 1, 48), (3, 50, 48)])
def test_they_give_what_they_gave(model, shape: tuple[int, ...]) -> None:
    states = torch.randn(shape)
    with torch.no_grad():
        expected = model(states)
        with packed_linears(model):
            assert ["forward" in vars(layer) for layer in model] == [True, True, False]
            assert torch.allclose(model(states), expected, atol=1e-5)
    assert not any("forward" in vars(layer) for layer in model)


def test_they_follow_autocast_as_a_layer_does(model) -> None:
    states = torch.randn(16, 48)
    with torch.no_grad(), packed_linears(model):
        plain = model[0](states)
        with torch.autocast("cpu", torch.bfloat16):
            found = model[0](states)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        expected = model[0](states)
    assert plain.dtype == torch.float32
    assert found.dtype == expected.dtype == torch.bfloat16
    assert torch.allclose(found.float(), expected.float(), atol=2e-2)


def test_gradients_are_the_layers_own(model) -> None:
    with packed_linears(model):
        model(torch.randn(4, 48)).sum().backward()
    assert model[0].weight.grad.abs().sum() > 0


def test_where_memory_is_short_nothing_is_packed(model, monkeypatch) -> None:
    # bytes; the two layers have 33,792
    monkeypatch.setattr("posttrain.engines.packed.main_memory", lambda: (10_000, 20_000))
    with packed_linears(model):
        assert not any("forward" in vars(layer) for layer in model)
