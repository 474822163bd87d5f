"""The networks: names, shapes, and what is left of torchvision's ResNet without the gate."""

import copy
import pickle

import pytest
import torch
import torchvision.models as plain_models
from torch import nn
from torch._dynamo.utils import counters

import sge_viz.resnet as sge_models
from sge_viz.resnet import default_layer, layers, sge_resnet18, sge_resnet50
from sge_viz.sge import SpatialGroupEnhance

BLOCKS = {18: 8, 34: 16, 50: 16, 101: 33, 152: 50}


def make(depth: int, **options) -> nn.Module:
    return getattr(sge_models, f"sge_resnet{depth}")(**options)


@pytest.mark.parametrize("depth", BLOCKS)
def test_names_and_shapes_are_torchvisions_and_one_sge_a_block(depth):
    with torch.device("meta"):
        model = make(depth)
        plain = getattr(plain_models, f"resnet{depth}")()
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    expected = {name: tuple(value.shape) for name, value in plain.state_dict().items()}
    for layer in layers(model):
        expected[f"{layer.path}.sge.weight"] = expected[f"{layer.path}.sge.bias"] = (1, 64, 1, 1)
    assert shapes == expected
    assert len(layers(model)) == BLOCKS[depth]
    extra = sum(p.numel() for p in model.parameters()) - sum(p.numel() for p in plain.parameters())
    assert extra == 2 * 64 * BLOCKS[depth]


def test_the_published_size_of_sge_resnet50():
    with torch.device("meta"):
        model = sge_resnet50()
    assert sum(p.numel() for p in model.parameters()) == 25_559_080
    state = model.state_dict()
    assert len(state) == 352
    assert sum(".sge." in name for name in state) == 32
    assert state["layer4.2.sge.weight"].shape == (1, 64, 1, 1)


@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize("training", [False, True])
def test_without_the_gate_it_is_torchvisions_network(depth, training):
    torch.manual_seed(0)
    model = make(depth, num_classes=10).train(training)
    plain = getattr(plain_models, f"resnet{depth}")(num_classes=10).train(training)
    plain.load_state_dict({k: v for k, v in model.state_dict().items() if ".sge." not in k})
    for module in model.modules():
        if isinstance(module, SpatialGroupEnhance):
            module.gate_point.register_forward_hook(lambda *args: torch.ones_like(args[-1]))
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(model(x), plain(x))


@pytest.mark.parametrize(("depth", "last"), [(18, "bn2"), (50, "bn3")])
def test_sge_stands_between_the_last_norm_and_the_sum(depth, last):
    torch.manual_seed(0)
    model = make(depth, num_classes=10).eval()
    block = model.layer2[1]
    nn.init.normal_(block.sge.weight)
    seen = {}
    handles = [
        getattr(block, last).register_forward_hook(
            lambda *args: seen.update(normed=args[-1].clone())
        ),
        block.sge.register_forward_hook(
            lambda module, inputs, out: seen.update(given=inputs[0].clone(), enhanced=out.clone())
        ),
        block.register_forward_hook(lambda *args: seen.update(x=args[1][0], out=args[-1].clone())),
    ]
    with torch.no_grad():
        model(torch.randn(1, 3, 64, 64))
    for handle in handles:
        handle.remove()
    assert torch.equal(seen["given"], seen["normed"])
    torch.testing.assert_close(seen["out"], (seen["enhanced"] + seen["x"]).relu())


@pytest.mark.parametrize("depth", [18, 50])
def test_a_hook_that_only_reads_changes_nothing_and_a_replaced_gate_the_answer(depth):
    torch.manual_seed(0)
    model = make(depth, num_classes=10).eval()
    x = torch.randn(2, 3, 64, 64)
    sges = [module for module in model.modules() if isinstance(module, SpatialGroupEnhance)]
    for sge in sges:
        nn.init.normal_(sge.weight)
    with torch.no_grad():
        bare = model(x)
        for of, tolerance in (("gate_point", 0), ("", 1e-5)):  # on the module it is not in place
            points = [sge.get_submodule(of) for sge in sges]
            handles = [point.register_forward_hook(lambda *_: None) for point in points]
            torch.testing.assert_close(model(x), bare, rtol=tolerance, atol=tolerance)
            for handle in handles:
                handle.remove()
        with sges[-1].gate_point.register_forward_hook(lambda *args: args[-1] / 2):
            assert not torch.allclose(model(x), bare)
        assert torch.equal(model(x), bare)
    torch.testing.assert_close(model(x), bare)  # with gradients


def blocks(kind: type[nn.Module] = sge_models.SGEBasicBlock, *settings) -> list[nn.Module]:
    """A block whose norms have learned, and its twin whose SGE is compiled."""
    torch.manual_seed(0)
    twins = [kind(16, 16, *settings) for _ in range(2)]
    for compiled, block in enumerate(twins):
        block.sge = SpatialGroupEnhance(4, compile=bool(compiled))
    for values in twins[0].state_dict().values():
        if values.is_floating_point():
            values.add_(torch.rand_like(values))
    twins[1].load_state_dict(twins[0].state_dict())
    return [block.eval() for block in twins]


@pytest.mark.parametrize("kind", ["basic", "bottleneck"])
def test_a_compiled_block_is_one_graph_for_any_batch_of_its_maps(kind):
    if kind == "basic":
        plain, compiled = blocks()
    else:
        shortcut = nn.Sequential(nn.Conv2d(16, 64, 1, 2, bias=False), nn.BatchNorm2d(64))
        plain, compiled = blocks(sge_models.SGEBottleneck, 2, shortcut)
    graphs = counters["stats"]["unique_graphs"]
    with torch.inference_mode():
        for batch in (2, 3, 5):
            x = torch.randn(batch, 16, 6, 5)
            before = x.clone()
            torch.testing.assert_close(compiled(x), plain(x))
            assert torch.equal(x, before)
    assert 1 <= counters["stats"]["unique_graphs"] - graphs <= 2  # of two pictures, of any number


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_a_block_whose_sge_alone_is_compiled_keeps_what_others_were_given(memory_format):
    plain, compiled = blocks()
    x = torch.randn(2, 16, 6, 5).contiguous(memory_format=memory_format)
    kept: list[torch.Tensor] = []
    for mode in (torch.inference_mode, torch.enable_grad):
        with mode():
            before, expected = x.clone(), plain(x)
            with compiled.conv2.register_forward_hook(lambda *args: kept.append(args[-1])):
                out = compiled(x)
            torch.testing.assert_close(out, expected)
            torch.testing.assert_close(kept[-1], plain.conv2(plain.relu(plain.bn1(plain.conv1(x)))))
            assert out.is_contiguous(memory_format=memory_format) and torch.equal(x, before)


@pytest.mark.parametrize("name", ["conv1", "bn1", "conv2", "bn2", "sge", "sge.gate_point", "relu"])
def test_hooks_in_a_compiled_block_see_and_change_what_they_would(name):
    plain, compiled = blocks()
    x = torch.randn(2, 16, 6, 5)
    seen: dict[nn.Module, list[torch.Tensor]] = {plain: [], compiled: []}
    with torch.no_grad():
        bare = compiled(x)
        answers = []
        for block in (plain, compiled):

            def halve(_, __, out, of=block):
                seen[of].append(out.clone())
                return out / 2

            with block.get_submodule(name).register_forward_hook(halve):
                answers.append(block(x))
        torch.testing.assert_close(*answers)
        torch.testing.assert_close(seen[plain], seen[compiled])
        assert not torch.allclose(answers[1], bare)
        torch.testing.assert_close(compiled(x), bare)


@pytest.mark.parametrize(
    "change", ["train", "no norm", "no statistics", "reflect", "forward", "_conv_forward"]
)
def test_a_compiled_block_with_other_parts_gives_what_they_give(change):
    twins = plain, compiled = blocks()
    x = torch.randn(2, 16, 6, 5)
    for block in twins:
        if change == "train":
            block.train()
        elif change == "no norm":
            block.bn2 = nn.Identity()
        elif change == "no statistics":
            block.bn2 = nn.BatchNorm2d(16, track_running_stats=False).eval()
        elif change == "reflect":
            block.conv1.padding_mode = "reflect"
        else:
            method = getattr(block.conv1, change)
            setattr(block.conv1, change, lambda *args, of=method: of(*args) / 2)
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), plain(x))
        torch.testing.assert_close(compiled.bn1.running_var, plain.bn1.running_var)


@pytest.mark.parametrize("compile", [False, True])
def test_a_network_compiles_and_exports_without_gradients(compile):
    torch.manual_seed(0)
    model = sge_resnet18(num_classes=5).eval()
    for block in model.layer4:  # one size of map to compile
        block.sge.compiled = compile
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = model(x)
        whole = torch.compile(model, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(whole(x), expected, rtol=1e-4, atol=1e-4)
        exported = torch.export.export(model, (x,)).module()
        torch.testing.assert_close(exported(x), expected, rtol=1e-4, atol=1e-4)


def test_every_parameter_learns():
    torch.manual_seed(0)
    model = sge_resnet18(num_classes=4).train()
    x = torch.randn(4, 3, 64, 64)
    nn.functional.cross_entropy(model(x), torch.arange(4)).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    for module in model.modules():
        if isinstance(module, SpatialGroupEnhance):
            assert module.weight.grad.any()
            assert module.bias.grad.any()


def test_groups_and_classes_are_chosen():
    model = sge_resnet18(num_classes=7, groups=32).eval()
    assert model.layer1[0].sge.weight.shape == (1, 32, 1, 1)
    assert model.layer1[0].conv1.groups == 1
    with torch.no_grad():
        assert model(torch.randn(1, 3, 32, 32)).shape == (1, 7)
        with pytest.raises(ValueError, match="64 channels into 48 equal groups"):
            sge_resnet18(groups=48)(torch.randn(1, 3, 32, 32))


def test_models_copy_and_pickle():
    model = sge_resnet18(num_classes=3, compile=True)
    assert all(m.compiled for m in model.modules() if isinstance(m, SpatialGroupEnhance))
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert twin.state_dict().keys() == model.state_dict().keys()


def test_layers_carry_both_names():
    with torch.device("meta"):
        model, large = sge_resnet50(), make(101)
    stages = [(layer.path, layer.stage, layer.paper_name, layer.stride) for layer in layers(model)]
    assert stages[0] == ("layer1.0", 2, "conv2_x", 4)
    assert stages[3] == ("layer2.0", 3, "conv3_x", 8)
    assert stages[12] == ("layer3.5", 4, "conv4_x", 16)
    assert stages[15] == ("layer4.2", 5, "conv5_x", 32)
    assert layers(model)[12].title(14, 14) == "layer3.5: stage 4 (conv4_x), 14x14"
    assert default_layer(model) == sge_models.DEFAULT_LAYER == "layer3.5"
    assert default_layer(large) == "layer3.22"
    assert layers(plain_models.resnet18()) == layers(sge_resnet18())
    with pytest.raises(ValueError, match="not a Linear"):
        layers(nn.Linear(1, 1))
