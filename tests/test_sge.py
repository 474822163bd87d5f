"""The gate against a naive float64 loop, and the module in every mode a network runs it in."""

import copy
import pickle
import warnings

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

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
    generator = torch.Generator().manual_seed(seed)
    nn.init.normal_(sge.weight, generator=generator)
    nn.init.normal_(sge.bias, generator=generator)
    return sge


def feature_map(*shape: int, seed: int = 0, memory_format=torch.contiguous_format) -> Tensor:
    """Values around a mean of each channel's own, as a batch norm gives them."""
    generator = torch.Generator().manual_seed(seed)
    offset = torch.randn(1, shape[1], 1, 1, generator=generator)
    x = torch.randn(shape, generator=generator) + offset
    return x.contiguous(memory_format=memory_format)


def similarity_rounding(x: Tensor, groups: int) -> float:
    """How far float32 may move a standardised similarity: the rounding of s over its spread."""
    y = x.detach().double().reshape(x.shape[0], groups, x.shape[1] // groups, -1)
    s = (y.mean(3, keepdim=True) * y).sum(2)
    size = (y.mean(3, keepdim=True) * y).abs().sum(2).amax()
    spread = s.std(2) if s.shape[2] > 1 else torch.ones(1, dtype=torch.float64)
    return float(16 * torch.finfo(torch.float32).eps * size / spread.amin())


@settings(max_examples=120, deadline=None)
@given(
    batch=st.integers(1, 3),
    groups=st.sampled_from([1, 2, 3, 8, 64]),
    size=st.integers(1, 9),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    memory_format=st.sampled_from(FORMATS),
    seed=st.integers(0, 2**31),
)
@example(2, 64, 4, 1, 1, torch.channels_last, 0)
@example(8, 64, 32, 7, 7, torch.channels_last, 0)
@example(2, 64, 4, 56, 56, torch.contiguous_format, 0)
def test_gate_equals_a_naive_float64_loop(batch, groups, size, height, width, memory_format, seed):
    sge = module(groups, seed)
    x = feature_map(batch, groups * size, height, width, seed=seed, memory_format=memory_format)
    before = x.clone()
    with torch.no_grad():
        gate, out = spatial_gate(x, sge.weight, sge.bias, groups), sge(x)
    expected = naive_gate(x, sge.weight, sge.bias, groups)
    tolerance = 2e-6 + sge.weight.abs().max().item() * similarity_rounding(x, groups)
    assert gate.shape == (batch, groups, height, width)
    torch.testing.assert_close(gate.double(), expected, rtol=0, atol=tolerance)
    enhanced = x.double() * expected.repeat_interleave(size, 1)
    torch.testing.assert_close(
        out.double(), enhanced, rtol=0, atol=float(x.abs().max()) * tolerance
    )
    assert out.is_contiguous(memory_format=memory_format)
    assert torch.equal(x, before)
    torch.testing.assert_close(sge(x), out)  # with gradients, the same numbers


def test_strided_views_are_read_where_they_lie():
    sge = module(4)
    whole = feature_map(2, 16, 10, 12)
    view = whole[:, 4:12, 1::2, ::3]
    assert not view.is_contiguous()
    torch.testing.assert_close(sge(view), sge(view.contiguous()))


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("value", [0.0, 1e-3, 1.0, 1e3, 1e6])
@pytest.mark.parametrize("side", [1, 7, 14, 57])
def test_a_constant_map_is_gated_by_beta_alone(value, side, memory_format):
    sge = module(8)
    generator = torch.Generator().manual_seed(1)
    channels = torch.randn(2, 64, 1, 1, generator=generator) * value
    x = channels.expand(2, 64, side, side).contiguous(memory_format=memory_format)
    x.requires_grad_()
    gate = spatial_gate(x, sge.weight, sge.bias, 8)
    torch.testing.assert_close(gate, sge.bias.sigmoid().expand_as(gate), rtol=0, atol=1e-6)
    (gate.sum() + sge(x).sum()).backward()
    for gradient in (x.grad, sge.weight.grad, sge.bias.grad):
        assert gradient.isfinite().all()
    assert not sge.weight.grad.any()


@pytest.mark.parametrize("value", [0.0, 1e-3, 1.0, 1e6])
@pytest.mark.parametrize("side", [14, 57])
def test_a_constant_map_is_gated_by_beta_alone_when_compiled_too(value, side):
    sge = SpatialGroupEnhance(8, compile=True)
    sge.load_state_dict(module(8).state_dict())
    generator = torch.Generator().manual_seed(1)
    channels = torch.randn(2, 64, 1, 1, generator=generator) * value
    x = channels.expand(2, 64, side, side).contiguous()
    gate = sge.bias.sigmoid().expand(2, 8, side, side)
    with torch.inference_mode():
        torch.testing.assert_close(sge(x), x * gate.repeat_interleave(8, 1))


def test_a_constant_map_needs_no_eps():
    sge = module(2)
    gate = spatial_gate(torch.zeros(1, 4, 5, 5), sge.weight, sge.bias, 2, eps=0)
    torch.testing.assert_close(gate, sge.bias.sigmoid().expand_as(gate))


def test_one_varying_group_beside_constant_ones():
    sge = module(2)
    x = torch.full((1, 4, 5, 5), 1000.0)
    x[:, 2:] = feature_map(1, 2, 5, 5)
    gate = spatial_gate(x, sge.weight, sge.bias, 2)
    expected = naive_gate(x, sge.weight, sge.bias, 2)
    torch.testing.assert_close(gate.double(), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("groups", [1, 4, 12])
def test_gradients(groups, memory_format):
    sge = module(groups).double()
    x = feature_map(2, 12, 3, 4).double().contiguous(memory_format=memory_format)

    def run(x, weight, bias):
        return torch.func.functional_call(sge, {"weight": weight, "bias": bias}, (x,))

    assert torch.autograd.gradcheck(run, (x.requires_grad_(), sge.weight, sge.bias))


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("whole", [False, True], ids=["autocast", "module in 16 bits"])
def test_sixteen_bits(dtype, whole, memory_format):
    # 300 squared, summed over 32 channels, is beyond the largest float16.
    x = feature_map(2, 64, 6, 5).mul(300).to(dtype).contiguous(memory_format=memory_format)
    sge = module(2).to(dtype) if whole else module(2)
    with torch.autocast("cpu", dtype, enabled=not whole), torch.no_grad():
        gate, out = spatial_gate(x, sge.weight, sge.bias, 2), sge(x)
    assert gate.dtype == out.dtype == dtype
    assert out.is_contiguous(memory_format=memory_format)
    expected = naive_gate(x, sge.weight, sge.bias, 2)
    step = torch.finfo(dtype).eps
    torch.testing.assert_close(gate.double(), expected, rtol=step, atol=1e-6)
    enhanced = x.double() * expected.repeat_interleave(32, 1)
    torch.testing.assert_close(out.double(), enhanced, rtol=2 * step, atol=1e-6)


def test_autocast_keeps_a_float32_map_in_float32():
    sge, x = module(4), feature_map(2, 16, 6, 6)
    with torch.autocast("cpu", torch.bfloat16):
        inside = sge(x)
        (inside.sum()).backward()
    torch.testing.assert_close(inside, sge(x))
    assert sge.weight.grad.isfinite().all()


@pytest.mark.parametrize("memory_format", FORMATS)
def test_an_empty_batch_stays_empty(memory_format):
    x = torch.empty(0, 16, 3, 3).contiguous(memory_format=memory_format)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert module(4)(x).shape == (0, 16, 3, 3)


def test_what_cannot_be_split_is_named():
    sge = SpatialGroupEnhance(64)
    with pytest.raises(ValueError, match="100 channels into 64 equal groups"):
        sge(torch.zeros(1, 100, 2, 2))
    with pytest.raises(ValueError, match=r"not \(64, 2, 2\)"):
        sge(torch.zeros(64, 2, 2))
    with pytest.raises(ValueError, match=r"at least one cell, not \(1, 64, 0, 2\)"):
        sge(torch.zeros(1, 64, 0, 2))
    with pytest.raises(ValueError, match="into 0 equal groups"):
        spatial_gate(torch.zeros(1, 64, 2, 2), sge.weight, sge.bias, 0)
    for groups in (0, -1):
        with pytest.raises(ValueError, match="at least 1 group"):
            SpatialGroupEnhance(groups)


def test_a_new_module_gates_everything_alike():
    sge, x = SpatialGroupEnhance(8), feature_map(2, 16, 4, 4)
    assert {k: tuple(v.shape) for k, v in sge.state_dict().items()} == {
        "weight": (1, 8, 1, 1),
        "bias": (1, 8, 1, 1),
    }
    torch.testing.assert_close(sge(x), x * torch.sigmoid(torch.tensor(1.0)))


def test_hooks_on_the_gate_point_read_and_replace_the_gate():
    sge, x = module(4), feature_map(2, 16, 5, 5)
    read: list[Tensor] = []
    handle = sge.gate_point.register_forward_hook(lambda *args: read.append(args[-1]))
    sge(x)
    handle.remove()
    assert torch.equal(read[0], spatial_gate(x, sge.weight, sge.bias, 4))
    with sge.gate_point.register_forward_hook(lambda *args: torch.zeros_like(args[-1])):
        assert not sge(x).any()


def test_hooks_on_the_gate_point_find_the_map_beside_the_gate():
    sge, x = module(4), feature_map(2, 16, 5, 5)
    with sge.gate_point.register_forward_hook(lambda *args: seen.extend(args[1])):
        seen: list[Tensor] = []
        sge(x)
    gate, given = seen
    assert torch.equal(gate, spatial_gate(x, sge.weight, sge.bias, 4))
    assert given is x


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("compile", [False, True])
def test_in_place_with_the_residual_it_is_the_same(compile, dtype, memory_format):
    sge = module(4, compile=compile)
    x, identity = (
        feature_map(2, 16, 6, 5).to(dtype).contiguous(memory_format=memory_format) * factor
        for factor in (1, 3)
    )
    kept = identity.clone()
    for mode in (torch.no_grad, torch.inference_mode):
        for added in (torch.zeros_like(x), identity):
            with mode():
                expected, given = sge(x), x.clone(memory_format=torch.preserve_format)
                out = sge.add_(given, added)
            assert out is given
            assert out.is_contiguous(memory_format=memory_format)
            # The sum with 0 needs no rounding; another is off by one rounding of the product, and
            # another graph by the rounding of the gate.
            bound = torch.finfo(dtype).eps * (expected.abs() + (expected + added).abs())
            factor = 4 * compile + added.any()
            assert ((out - (expected + added)).abs() <= bound * factor).all()
    assert torch.equal(identity, kept)


def test_in_place_with_a_gate_replaced():
    sge, x = module(4), feature_map(2, 16, 5, 5)
    for gate in (torch.zeros(1, 4, 1, 1), torch.full((2, 4, 5, 5), -0.5)):
        with torch.no_grad(), sge.gate_point.register_forward_hook(lambda *_, g=gate: g):
            assert torch.equal(
                sge.add_(x.clone(), torch.zeros_like(x)), x * gate.repeat_interleave(4, 1)
            )


class Halved(SpatialGroupEnhance):
    def forward(self, x: Tensor) -> Tensor:
        return x / 2


def test_whoever_looks_at_a_module_still_sees_what_it_is_given_and_gives():
    sge, x, identity = module(4), feature_map(2, 16, 5, 5), torch.ones(2, 16, 5, 5)
    seen: list[Tensor] = []

    def before(_, inputs):
        seen.extend(inputs)

    def after(looked_at, inputs, out):
        if looked_at is sge:
            seen.extend((*inputs, out))

    with torch.no_grad():
        expected, kept = sge(x), x.clone()
        for register in (
            lambda: sge.register_forward_pre_hook(before),
            lambda: sge.register_forward_hook(after),
            lambda: nn.modules.module.register_module_forward_hook(after),
        ):
            seen.clear()
            with register():
                out = sge.add_(x, identity)
            assert torch.equal(seen[0], kept)  # kept by reference, and not overwritten
            assert torch.equal(out, expected + 1)
            assert torch.equal(seen[-1], expected if len(seen) > 1 else kept)
        with sge.register_forward_hook(lambda *args: -args[-1]):
            assert torch.equal(sge.add_(x, identity), 1 - expected)
        assert torch.equal(Halved(4).add_(x, identity), x / 2 + 1)
        sge.forward = lambda x: x / 4
        assert torch.equal(sge.add_(x, identity), x / 4 + 1)
    assert torch.equal(x, kept)


def test_hooks_on_gradients_are_called_in_a_block_too():
    sge, x, seen = module(4), feature_map(2, 16, 5, 5).requires_grad_(), []
    sge.register_full_backward_hook(lambda _, into, out: seen.append(out[0].shape))
    sge.register_full_backward_pre_hook(lambda _, out: seen.append(out[0].shape))
    sge.add_(x * 1, torch.ones_like(x)).sum().backward()
    assert seen == [x.shape, x.shape]


def test_with_the_residual_it_leaves_gradients_as_they_are():
    sge, x = module(4), feature_map(2, 16, 5, 5).requires_grad_()
    gradients = []
    for run in (lambda y: sge(y) + 1, lambda y: sge.add_(y, torch.ones_like(y))):
        run(x * 1).square().sum().backward()
        gradients.append((x.grad, sge.weight.grad, sge.bias.grad))
        x.grad = sge.weight.grad = sge.bias.grad = None
    for apart, together in zip(*gradients, strict=True):
        torch.testing.assert_close(apart, together)


@pytest.fixture(scope="module")
def graphs():
    """Count the graphs that torch.compile makes."""
    from torch._dynamo.utils import counters

    return lambda: counters["stats"]["unique_graphs"]


@pytest.mark.parametrize(
    ("memory_format", "backend"), [(FORMATS[0], "inductor"), (FORMATS[1], "aot_eager")]
)
def test_compiles_into_one_graph(memory_format, backend):
    sge = module(4)
    x = feature_map(2, 16, 6, 5, memory_format=memory_format)
    compiled = torch.compile(sge, fullgraph=True, backend=backend)
    torch.testing.assert_close(compiled(x), sge(x))
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(compiled(x.bfloat16()), sge(x.bfloat16()), rtol=0.02, atol=0.02)


@pytest.mark.parametrize("strict", [False, True])
def test_exports_with_any_batch(strict):
    sge = module(4).eval()
    batch = torch.export.Dim("batch")
    program = torch.export.export(
        sge, (feature_map(2, 16, 6, 5),), dynamic_shapes=({0: batch},), strict=strict
    )
    for size in (1, 2, 5):
        x = feature_map(size, 16, 6, 5, seed=size)
        torch.testing.assert_close(program.module()(x), sge(x))


@pytest.mark.parametrize("strict", [False, True])
def test_exports_for_maps_of_any_size(strict):
    sge = module(4).eval()
    sides = {axis: torch.export.Dim(name, min=1, max=64) for axis, name in ((2, "h"), (3, "w"))}
    program = torch.export.export(
        sge, (feature_map(2, 16, 6, 5),), dynamic_shapes=(sides,), strict=strict
    )
    for size in ((1, 1), (3, 1), (14, 14), (64, 33)):
        x = feature_map(2, 16, *size)
        torch.testing.assert_close(program.module()(x), sge(x))


def test_compiled_gate_is_the_same_for_hooks_gradients_and_batches(graphs):
    plain, compiled = module(4), module(4, compile=True)
    before = graphs()
    for size in (1, 2, 5, 3):
        x = feature_map(size, 16, 6, 5, seed=size)
        torch.testing.assert_close(compiled(x), plain(x))
    assert graphs() - before <= 3  # one picture, several, and any number of them
    last = x.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(compiled(last), plain(last))
    assert graphs() - before <= 4
    twin = module(4, compile=True)
    twin(x)
    assert graphs() - before <= 4  # modules share what is compiled

    read: list[Tensor] = []
    with compiled.gate_point.register_forward_hook(lambda *args: read.append(args[-1])):
        compiled(x)
    torch.testing.assert_close(read[0], spatial_gate(x, plain.weight, plain.bias, 4))

    for sge in (plain, compiled):
        inputs = x.clone().requires_grad_()
        sge(inputs).square().sum().backward()
        sge.seen = inputs.grad
    torch.testing.assert_close(compiled.seen, plain.seen)
    torch.testing.assert_close(compiled.weight.grad, plain.weight.grad, rtol=1e-5, atol=1e-5)


def test_compiled_module_copies_and_pickles():
    sge, x = module(4, compile=True), feature_map(2, 16, 6, 5)
    expected = sge(x)
    for twin in (copy.deepcopy(sge), pickle.loads(pickle.dumps(sge))):
        torch.testing.assert_close(twin(x), expected)


def test_a_compiled_module_inside_a_compiled_or_exported_network():
    network = nn.Sequential(nn.Conv2d(3, 16, 3), module(4, compile=True)).eval()
    x = torch.randn(2, 3, 8, 7)
    expected = network(x)
    whole = torch.compile(network, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(whole(x), expected)
    torch.testing.assert_close(torch.export.export(network, (x,)).module()(x), expected)
