"""Capture: the maps are those of the pass, and nothing stays behind."""

import pytest
import torch
from torch import nn
from torchvision.models import resnet18

from sge_viz.capture import capture
from sge_viz.resnet import sge_resnet18
from sge_viz.sge import SpatialGroupEnhance


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    model = sge_resnet18(num_classes=5).eval()
    for module in model.modules():
        if isinstance(module, SpatialGroupEnhance):
            nn.init.normal_(module.weight)
    return model


def hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_after_is_the_norm_of_what_sge_really_gave(model):
    real = {}

    def keep(_, inputs, out):
        real["before"] = inputs[0].unflatten(1, (64, -1)).norm(dim=2)
        real["after"] = out.unflatten(1, (64, -1)).norm(dim=2)

    handle = model.layer3[1].sge.register_forward_hook(keep)
    with torch.inference_mode(), capture(model) as seen:
        model(torch.randn(2, 3, 64, 96))
    handle.remove()
    maps = seen["layer3.1"]
    assert maps.before.shape == (2, 64, 4, 6)
    torch.testing.assert_close(maps.before, real["before"])
    torch.testing.assert_close(maps.after, real["after"])
    assert maps.input_size == (64, 96)
    assert seen["layer3.1.sge"] is maps
    assert list(seen) == [f"layer{s}.{b}" for s in (1, 2, 3, 4) for b in (0, 1)]
    assert hooks(model) == 0


def test_plain_resnet_has_norms_and_no_gate():
    plain = resnet18(num_classes=5).eval()
    with torch.inference_mode(), capture(plain, "layer4.1") as seen:
        plain(torch.randn(1, 3, 64, 64))
    assert list(seen) == ["layer4.1"]
    assert seen["layer4.1"].before.shape == (1, 64, 2, 2)
    assert seen["layer4.1"].gate is None


def test_unknown_layer_is_a_sentence(model):
    with pytest.raises(KeyError) as error, capture(model, ["layer9.9"]):
        pass
    assert str(error.value).startswith(
        "There is no layer 'layer9.9' in this network; it has layer1.0,"
    )
