"""Capture: the maps are those of the pass, and nothing stays behind."""

import gc
import threading
import tracemalloc
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torchvision.models import resnet18, resnet50

from sge_viz.capture import capture, group_norms
from sge_viz.resnet import sge_resnet18, sge_resnet50
from sge_viz.sge import SpatialGroupEnhance, spatial_gate

BLOCKS = [f"layer{stage}.{block}" for stage in (1, 2, 3, 4) for block in (0, 1)]


def with_gates(model: nn.Module) -> nn.Module:
    """Give every SGE module gates that differ from place to place."""
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, SpatialGroupEnhance):
            nn.init.normal_(module.weight, generator=generator)
            nn.init.normal_(module.bias, generator=generator)
    return model.eval()


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    return with_gates(sge_resnet18(num_classes=5))


def picture(batch: int = 1, height: int = 64, width: int = 64, seed: int = 0) -> Tensor:
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(seed))


def hooks(model: nn.Module) -> int:
    kinds = (
        "_forward_hooks",
        "_forward_pre_hooks",
        "_backward_hooks",
        "_forward_hooks_with_kwargs",
    )
    return sum(len(getattr(module, kind)) for module in model.modules() for kind in kinds)


def norms(x: Tensor, groups: int = 64) -> Tensor:
    """Return the naive norms in float64, one group at a time."""
    parts = x.detach().double().split(x.shape[1] // groups, dim=1)
    return torch.stack([part.square().sum(1).sqrt() for part in parts], 1).float()


def real(module: nn.Module) -> tuple[dict[str, Tensor], torch.utils.hooks.RemovableHandle]:
    """Reduce what an SGE module is given and gives in the pass, before the block overwrites it."""
    kept: dict[str, Tensor] = {}

    def keep(_, inputs, out):
        kept.update(before=norms(inputs[0]), after=norms(out))

    return kept, module.register_forward_hook(keep)


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 7), st.integers(1, 8), st.integers(1, 8)),
    groups=st.sampled_from([1, 4, 64]),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
    memory_format=st.sampled_from([torch.contiguous_format, torch.channels_last]),
)
def test_group_norms_equal_naive_ones(shape, groups, dtype, memory_format):
    batch, size, height, width = shape
    x = torch.randn(batch, groups * size, height, width).to(dtype)
    x = x.contiguous(memory_format=memory_format)
    torch.testing.assert_close(group_norms(x, groups).float(), norms(x, groups))


MODES = {
    "gradients": torch.enable_grad,
    "no_grad": torch.no_grad,
    "inference": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
}


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("mode", MODES)
def test_maps_are_those_of_the_real_pass(model, mode, memory_format):
    x = picture(2, 64, 96).contiguous(memory_format=memory_format)
    kept, handle = real(model.layer3[1].sge)
    with MODES[mode]():
        bare = model(x)
        with capture(model) as seen:
            out = model(x)
    handle.remove()
    assert torch.equal(out, bare)
    maps = seen["layer3.1"]
    tolerance = {"rtol": 0.02, "atol": 0.05} if mode == "autocast" else {}
    torch.testing.assert_close(maps.before, kept["before"], **tolerance)
    torch.testing.assert_close(maps.after, kept["after"], **tolerance)
    assert torch.equal(maps.after, maps.gate * maps.before)
    for values in (maps.before, maps.gate, maps.after):
        assert values.shape == (2, 64, 4, 6)
        assert values.dtype == torch.float32
        assert not values.requires_grad
        assert not values.is_inference()
    assert torch.equal(maps.gamma, model.layer3[1].sge.weight.detach().flatten())
    assert torch.equal(maps.beta, model.layer3[1].sge.bias.detach().flatten())
    assert maps.input_size == (64, 96)
    assert hooks(model) == 0


@pytest.mark.parametrize("compile", [False, True])
def test_capture_does_not_change_the_answer(model, compile):
    compiled = with_gates(sge_resnet18(num_classes=5))
    compiled.load_state_dict(model.state_dict())
    for block in compiled.layer4:  # one size of map to compile
        block.sge.compiled = compile
    with torch.inference_mode():
        bare = compiled(picture(2))
        with capture(compiled):
            captured = compiled(picture(2))
    if compile:  # one graph gives way to several, which round differently
        torch.testing.assert_close(captured, bare, rtol=1e-5, atol=1e-5)
    else:
        assert torch.equal(captured, bare)


def test_seen_is_a_mapping_in_forward_order(model):
    with torch.inference_mode(), capture(model) as seen:
        assert len(seen) == 0
        model(picture())
    assert list(seen) == BLOCKS
    assert len(seen) == 8
    assert "layer2.0" in seen
    assert "layer2.0.sge" in seen
    assert "layer9.0" not in seen
    assert seen["layer2.0.sge"] is seen["layer2.0"]
    assert [maps.layer for maps in seen.values()] == BLOCKS


def test_all_sixteen_modules_of_a_resnet50():
    network = with_gates(sge_resnet50(num_classes=5))
    network.card = SimpleNamespace(name="mine")
    with torch.inference_mode(), capture(network) as seen:
        network(picture())
    assert len(seen) == 16
    assert {maps.checkpoint for maps in seen.values()} == {"mine"}


def test_chosen_layers_only(model):
    with torch.inference_mode(), capture(model, ["layer4.1", "layer1.0.sge"]) as seen:
        model(picture())
    assert list(seen) == ["layer1.0", "layer4.1"]
    with pytest.raises(KeyError) as error:
        seen["layer2.0"]
    assert "layer2.0 was not chosen" in str(error.value)
    with torch.inference_mode(), capture(model, "layer3.1") as seen:
        model(picture())
    assert list(seen) == ["layer3.1"]


def test_a_later_pass_replaces_the_earlier(model):
    with torch.inference_mode(), capture(model) as seen:
        model(picture(seed=1))
        first = seen["layer3.1"]
        model(picture(2, 96, 64, seed=2))
    with torch.inference_mode(), capture(model) as alone:
        model(picture(2, 96, 64, seed=2))
    assert first.input_size == (64, 64)
    assert seen["layer3.1"].input_size == (96, 64)
    assert torch.equal(seen["layer3.1"].after, alone["layer3.1"].after)
    assert list(seen) == BLOCKS


def test_errors_are_plain_sentences(model):
    with pytest.raises(KeyError) as error, capture(model, ["layer9.9"]):
        pass
    sentence = str(error.value)
    assert sentence.startswith("There is no layer 'layer9.9' in this network; it has layer1.0, ")
    with pytest.raises(KeyError, match="There is no layer 5 in this network"), capture(model, [5]):
        pass
    with capture(model) as seen:
        pass
    with pytest.raises(KeyError, match=r"layer3\.1 has not run"):
        seen["layer3.1"]
    with pytest.raises(KeyError, match="There is no layer 'layer9'"):
        seen["layer9"]
    with (
        pytest.raises(ValueError, match="Linear has neither SGE modules"),
        capture(nn.Linear(1, 1)),
    ):
        pass
    assert hooks(model) == 0


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_hooks_go_however_the_block_ends(model, error):
    def fail(*_):
        raise error

    broken = model.layer3[0].register_forward_hook(fail)
    before = hooks(model)
    with pytest.raises(error), capture(model):
        model(picture())
    assert hooks(model) == before
    broken.remove()
    with pytest.raises(error), capture(model):
        assert hooks(model) > 0
        raise error
    assert hooks(model) == 0


def test_hooks_go_when_registering_fails(model, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(model.layer4[0].sge.gate_point, "register_forward_hook", interrupt)
    with pytest.raises(KeyboardInterrupt), capture(model):
        pass
    assert hooks(model) == 0
    with pytest.raises(KeyboardInterrupt), capture(model):  # and the lock is free again
        pass


def test_captures_nest(model):
    with torch.inference_mode(), capture(model) as outer:
        model(picture(seed=1))
        with capture(model, "layer3.1") as inner:
            model(picture(seed=2))
        assert torch.equal(outer["layer3.1"].gate, inner["layer3.1"].gate)
        model(picture(seed=3))
    assert not torch.equal(outer["layer3.1"].gate, inner["layer3.1"].gate)
    assert hooks(model) == 0


def test_a_hooked_gate_is_the_one_captured(model):
    sge = model.layer3[1].sge
    kept, handle = real(sge)
    for replace in (
        lambda *args: torch.ones_like(args[-1]),
        lambda *args: torch.zeros(1, 64, 1, 1),
        lambda *args: -args[-1],
    ):
        with (
            sge.gate_point.register_forward_hook(replace),
            torch.inference_mode(),
            capture(model) as seen,
        ):
            model(picture())
        maps = seen["layer3.1"]
        assert maps.gate.shape == maps.before.shape
        torch.testing.assert_close(maps.after, kept["after"])
    handle.remove()


def test_a_compiled_module_is_captured_like_any():
    plain, compiled = (with_gates(SpatialGroupEnhance(4, compile=on)) for on in (False, True))
    x = torch.randn(2, 16, 6, 5)
    with torch.inference_mode():
        bare = compiled(x)
        with capture(compiled) as seen, capture(plain) as expected:
            torch.testing.assert_close(compiled(x), bare)
            plain(x)
    torch.testing.assert_close(seen["sge"].gate, expected["sge"].gate)
    torch.testing.assert_close(seen["sge"].after, norms(bare, 4))


def test_a_network_compiled_as_a_whole_is_refused(model):
    whole = torch.compile(model, backend="eager")
    with pytest.raises(ValueError, match=r"torch\.compile.*_orig_mod"), capture(whole):
        pass
    with torch.inference_mode(), capture(whole._orig_mod) as seen:
        model(picture())
    assert len(seen) == 8


def test_threads_on_one_model_see_only_their_own(model):
    sizes = [(1, 64, 64), (2, 64, 96), (3, 96, 64), (1, 96, 96)] * 2
    expected = []
    for seed, size in enumerate(sizes):
        with torch.inference_mode(), capture(model) as seen:
            model(picture(*size, seed=seed))
        expected.append({layer: maps.after for layer, maps in seen.items()})
    barrier = threading.Barrier(len(sizes) + 1)
    wrong: list[str] = []

    def work(seed: int) -> None:
        try:
            for _ in range(3):
                with torch.inference_mode(), capture(model) as seen:
                    barrier.wait(60)
                    model(picture(*sizes[seed], seed=seed))
                    barrier.wait(60)
                for layer, after in expected[seed].items():
                    if not torch.allclose(seen[layer].after, after, rtol=1e-4, atol=1e-5):
                        wrong.append(f"{seed} {layer}")
        except Exception as error:
            wrong.append(repr(error))
            barrier.abort()

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(len(sizes))]
    for thread in threads:
        thread.start()
    with capture(model) as idle:  # a thread that runs nothing sees nothing
        for _ in range(6):
            barrier.wait(60)
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(idle) == 0
    assert hooks(model) == 0


def test_threads_opening_and_closing_at_will_lose_no_map():
    block = nn.Sequential(SpatialGroupEnhance(2), SpatialGroupEnhance(4))
    wrong: list[object] = []

    def work(value: int) -> None:
        x = torch.full((1, 8, 2, 2), float(value))
        for _ in range(200):
            with torch.no_grad(), capture(block) as seen:
                block(x)
            if list(seen) != ["0", "1"] or seen["0"].before[0, 0, 0, 0] != 2 * value:
                wrong.append((value, list(seen)))

    threads = [threading.Thread(target=work, args=(value,)) for value in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert hooks(block) == 0


def test_a_thousand_captures_leave_nothing():
    block = nn.Sequential(nn.Conv2d(3, 64, 3), SpatialGroupEnhance(64))
    x = picture(1, 32, 32)

    def run(times: int) -> None:
        for _ in range(times):
            with torch.no_grad(), capture(block) as seen:
                block(x)
            assert len(seen) == 1

    def tensors() -> int:
        return sum(issubclass(type(thing), Tensor) for thing in gc.get_objects())

    run(10)
    tracemalloc.start()
    run(10)
    gc.collect()
    start, held = tracemalloc.get_traced_memory()[0], tensors()
    run(1000)
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - start
    tracemalloc.stop()
    assert grown < 20_000  # less than 20 bytes a capture: nothing is kept
    assert tensors() == held
    assert hooks(block) == 0


@pytest.mark.parametrize(("make", "count"), [(resnet18, 8), (resnet50, 16)])
def test_a_plain_resnet_has_norms_and_no_gate(make, count):
    plain = make(num_classes=5).eval()
    kept = []
    last = plain.layer3[-1].bn3 if make is resnet50 else plain.layer3[-1].bn2
    handle = last.register_forward_hook(lambda *args: kept.append(norms(args[-1], 32)))
    with torch.inference_mode(), capture(plain, groups=32) as seen:
        plain(picture(2))
    handle.remove()
    assert len(seen) == count
    maps = list(seen.values())[-3 if make is resnet18 else -4]
    assert maps.layer.startswith("layer3")
    torch.testing.assert_close(maps.before, kept[0])
    assert maps.gate is maps.after is maps.gamma is maps.beta is None
    with (
        pytest.raises(ValueError, match=r"channels of layer1\.0 cannot be split into 48"),
        capture(plain, groups=48),
    ):
        plain(picture())
    with pytest.raises(ValueError, match="into 0 equal groups"), capture(plain, groups=0):
        plain(picture())
    assert hooks(plain) == 0


def test_any_network_with_sge_modules():
    class Attended(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = SpatialGroupEnhance(4)
            self.body = nn.ModuleDict({"block": nn.Sequential(SpatialGroupEnhance(8))})
            self.sge = SpatialGroupEnhance(2)

        def forward(self, x: Tensor) -> Tensor:
            return self.first(self.body["block"](self.sge(x)))

    network = with_gates(Attended())
    with torch.no_grad(), capture(network) as seen:
        network(torch.randn(2, 16, 5, 3))
    assert list(seen) == ["sge", "body.block.0", "first"]  # as they run, not as they are written
    assert {layer: maps.gate.shape[1] for layer, maps in seen.items()} == {
        "sge": 2,
        "body.block.0": 8,
        "first": 4,
    }


def test_a_bare_module_is_called_sge():
    sge = with_gates(SpatialGroupEnhance(4))
    x = torch.randn(2, 8, 3, 3)
    with torch.no_grad(), capture(sge) as seen:
        sge(x)
    assert torch.equal(seen["sge"].gate, spatial_gate(x, sge.weight, sge.bias, 4))
    assert seen["sge"].input_size == (3, 3)
