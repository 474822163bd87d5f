"""The gate against a naive float64 loop, and the module in every mode a network runs it in."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sge_viz.sge import SpatialGroupEnhance, spatial_gate

FORMATS = (torch.contiguous_format, torch.channels_last)


def naive_gate(x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float = 1e-5) -> Tensor:
    """The published definition in float64, one batch entry and one group at a time."""
    x, weight, bias = (t.detach().to(torch.float64) for t in (x, weight, bias))
    batch, channels, height, width = x.shape
    size = channels // groups
    gate = torch.empty(batch, groups, height, width, dtype=torch.float64)
    for b in range(batch):
        for g in range(groups):
            y = x[b, g * size : (g + 1) * size].reshape(size, -1)
            mean = y.sum(1) / y.shape[1]
            s = (mean[:, None] * y).sum(0)
            s = s - s.sum() / s.numel()
            std = (s.square().sum() / max(s.numel() - 1, 1)).sqrt()
            z = weight.flatten()[g] * s / (std + eps) + bias.flatten()[g]
            gate[b, g] = (1 / (1 + torch.exp(-z))).reshape(height, width)
    return gate


def module(groups: int, seed: int = 0, **options: bool) -> SpatialGroupEnhance:
    sge = SpatialGroupEnhance(groups, **options)
    torch.manual_seed(seed)
    torch.nn.init.normal_(sge.weight)
    torch.nn.init.normal_(sge.bias)
    return sge


@settings(max_examples=60, deadline=None)
@given(
    batch=st.integers(1, 3),
    groups=st.sampled_from([1, 2, 3, 8, 64]),
    size=st.integers(1, 9),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    memory_format=st.sampled_from(FORMATS),
    seed=st.integers(0, 2**31),
)
def test_gate_equals_a_naive_float64_loop(batch, groups, size, height, width, memory_format, seed):
    sge = module(groups, seed)
    x = torch.randn(batch, groups * size, height, width) + torch.randn(1, groups * size, 1, 1)
    x = x.contiguous(memory_format=memory_format)
    gate = spatial_gate(x, sge.weight, sge.bias, groups)
    expected = naive_gate(x, sge.weight, sge.bias, groups)
    torch.testing.assert_close(gate.double(), expected, rtol=0, atol=2e-5)
    out = sge(x)
    assert out.is_contiguous(memory_format=memory_format)
    torch.testing.assert_close(
        out.double(), x.double() * expected.repeat_interleave(size, 1), rtol=0, atol=2e-4
    )


@pytest.mark.parametrize("memory_format", FORMATS)
def test_gradients(memory_format):
    sge = module(4).double()
    x = torch.randn(2, 12, 3, 4, dtype=torch.float64).contiguous(memory_format=memory_format)

    def run(x, weight, bias):
        parameters = {"weight": weight, "bias": bias}
        return torch.func.functional_call(sge, parameters, (x,))

    assert torch.autograd.gradcheck(run, (x.requires_grad_(), sge.weight, sge.bias))


def test_channels_that_do_not_divide_are_named():
    sge = SpatialGroupEnhance(64)
    with pytest.raises(ValueError, match=r"100 channels into 64 equal groups"):
        sge(torch.zeros(1, 100, 2, 2))
    with pytest.raises(ValueError, match="at least 1 group"):
        SpatialGroupEnhance(0)
