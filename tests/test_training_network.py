"""The network a run begins with, its twin without SGE, and the file it ends as."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn
from torchvision.models import resnet18
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from sge_viz.checkpoints import inspect, load_model
from sge_viz.checkpoints.contents import read
from sge_viz.resnet import SGEBottleneck, SGEResNet, sge_resnet18
from sge_viz.sge import SpatialGroupEnhance
from sge_viz.training.network import begin, go_on, plain_twin, sge_twin
from sge_viz.training.release import commit, release
from sge_viz.training.settings import BadSettings, Settings


@pytest.fixture
def trained():
    """A network of which no tensor has its first value, but gamma."""
    torch.manual_seed(2)
    network = sge_resnet18(num_classes=7, groups=8)
    fill(network)
    return network.eval()


def fill(network):
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 1.5)
        elif isinstance(module, SpatialGroupEnhance):
            nn.init.normal_(module.bias)


def released(network, path, **options):
    return release(network.state_dict(), path, options.pop("card", {}), **options)


@pytest.mark.parametrize("architecture", ["sge_resnet18", "resnet50"])
def test_each_block_begins_as_the_identity(architecture):
    network = begin(architecture, 5, seed=3)
    assert network.fc.out_features == 5 and type(network).__name__.endswith("ResNet")
    blocks = [m for m in network.modules() if isinstance(m, BasicBlock | Bottleneck)]
    assert len(blocks) == {"sge_resnet18": 8, "resnet50": 16}[architecture]
    for block in blocks:
        last = block.bn3 if isinstance(block, Bottleneck) else block.bn2
        others = [m for m in block.modules() if isinstance(m, nn.BatchNorm2d) and m is not last]
        assert not last.weight.any() and all((m.weight == 1).all() for m in others)
    block = network.eval().layer1[1]
    x = torch.rand(1, 64 if architecture == "sge_resnet18" else 256, 8, 8)
    torch.testing.assert_close(block(x), x)
    gates = [m for m in network.modules() if isinstance(m, SpatialGroupEnhance)]
    assert len(gates) == (8 if architecture == "sge_resnet18" else 0)
    assert all(not gate.weight.any() and (gate.bias == 1).all() for gate in gates)


def test_a_seed_gives_one_network():
    one, two, other = (begin("sge_resnet18", 4, seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(tensor, two[name]) for name, tensor in one.items())
    assert not torch.equal(one["fc.weight"], other["fc.weight"])


def test_an_unknown_architecture_is_a_sentence():
    with pytest.raises(BadSettings, match="no architecture 'vgg': choose one of sge_resnet18, "):
        begin("vgg", 4, seed=0)


def test_going_on_starts_from_the_files_weights(trained, tmp_path):
    path = released(trained, tmp_path / "trained.safetensors")
    network, name, sha256 = go_on(str(path))
    assert name == "sge_resnet18" and sha256 == inspect(path).sha256
    wanted = trained.state_dict()
    assert all(torch.equal(t, wanted[key]) for key, t in network.state_dict().items())
    assert all(parameter.requires_grad for parameter in network.parameters())
    twin, name, again = go_on(str(path), sge=False)
    assert name == "resnet18" and again == sha256
    assert all(parameter.requires_grad for parameter in twin.parameters())
    assert not any("sge" in key for key in twin.state_dict())


@pytest.mark.parametrize("kind", ["basic", "bottleneck"])
def test_without_gamma_the_twin_answers_as_the_network_does(trained, kind):
    if kind == "bottleneck":
        trained = SGEResNet(SGEBottleneck, [1, 2, 1, 1], 7, 16).eval()
        fill(trained)
    x = torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        twin = plain_twin(trained).eval()
        torch.testing.assert_close(twin(x), trained(x), rtol=1e-4, atol=1e-4)
        trained.layer3[0].sge.weight.fill_(2)
        assert not torch.allclose(twin(x), trained(x), rtol=1e-3, atol=1e-3)
    assert not any(isinstance(module, SpatialGroupEnhance) for module in twin.modules())
    assert [len(getattr(twin, f"layer{n}")) for n in (1, 2, 3, 4)] == [
        len(getattr(trained, f"layer{n}")) for n in (1, 2, 3, 4)
    ]


def test_what_has_no_sge_has_no_twin():
    with pytest.raises(BadSettings, match="This ResNet has no SGE that could be left out"):
        plain_twin(resnet18(num_classes=3))


@pytest.mark.parametrize("kind", [Bottleneck, BasicBlock])
def test_with_sge_put_in_a_network_answers_as_before(kind):
    plain = ResNet(kind, [1, 2, 1, 1], num_classes=7).eval()
    fill(plain)
    x = torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        twin = sge_twin(plain).eval()
        torch.testing.assert_close(twin(x), plain(x), rtol=1e-4, atol=1e-4)
        twin.layer3[0].sge.weight.fill_(2)
        assert not torch.allclose(twin(x), plain(x), rtol=1e-3, atol=1e-3)
    assert sum(isinstance(module, SpatialGroupEnhance) for module in twin.modules()) == 5
    with pytest.raises(BadSettings, match="has SGE already"):
        sge_twin(twin)


def test_going_on_from_a_plain_file_with_sge(tmp_path):
    plain = resnet18(num_classes=3).eval()
    torch.save(plain.state_dict(), tmp_path / "plain.pth")  # as torchvision's files are
    network, name, _ = go_on(str(tmp_path / "plain.pth"), sge=True)
    assert name == "sge_resnet18"
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(network.eval()(x), plain(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("half", [False, True])
def test_a_released_file_is_the_network(trained, tmp_path, half):
    network = trained.to(memory_format=torch.channels_last)
    loaded = load_model(released(network, tmp_path / "w.safetensors", half=half), "cpu")
    assert type(loaded) is SGEResNet and loaded.card.groups == 8 and loaded.card.classes == 7
    wanted = network.state_dict()
    assert loaded.state_dict().keys() == wanted.keys()
    for name, tensor in loaded.state_dict().items():
        expected = wanted[name]
        if half and expected.is_floating_point():
            expected = expected.half().float()
        assert torch.equal(tensor, expected), name
    size = (tmp_path / "w.safetensors").stat().st_size
    assert size < (2.1 if half else 4.1) * sum(t.numel() for t in wanted.values())


def test_a_twin_is_released_as_what_it_is(trained, tmp_path):
    path = released(plain_twin(trained), tmp_path / "twin.safetensors")
    assert inspect(path).card.architecture == "resnet18" and inspect(path).card.groups is None


def test_the_card_is_kept(trained, tmp_path):
    settings = Settings(task="distil", phases=((96, 0.5), (224, 0.5)), repeats=(("dogs", 2),))
    card = {
        "title": "Dogs' parts",
        "notes": "Knows dogs alone.",
        "recipe": settings.text(),
        "quality": {"top1": 76.5, "p": [0.001]},
    }
    path = released(trained, tmp_path / "w.safetensors", card=card)
    metadata = read(path, path.name).metadata
    assert Settings.from_text(metadata["recipe"]) == settings
    assert json.loads(metadata["quality"]) == card["quality"]
    assert metadata["format"] == "pt" and metadata["written_by"].startswith("sge-viz ")
    shown = load_model(path, "cpu").card
    assert (shown.title, shown.notes) == (card["title"], card["notes"])
    assert not shown.published
    again = released(trained, tmp_path / "again.safetensors", card=card)
    assert again.read_bytes() == path.read_bytes()


def test_the_commit_is_named():
    found = commit().removesuffix("+")
    assert found.startswith("version ") or (len(found) == 12 and int(found, 16))
