"""The networks: names, shapes, and what is left of torchvision's ResNet without the gate."""

import pytest
import torch
from torchvision.models import resnet50

from sge_viz.resnet import default_layer, layers, sge_resnet18, sge_resnet50


def test_the_published_size():
    model = sge_resnet50()
    assert sum(p.numel() for p in model.parameters()) == 25_559_080
    state = model.state_dict()
    assert len(state) == 352
    assert state["layer4.2.sge.weight"].shape == (1, 64, 1, 1)


def test_without_the_gate_it_is_torchvisions_network():
    model, plain = sge_resnet50(num_classes=10).eval(), resnet50(num_classes=10).eval()
    plain.load_state_dict({k: v for k, v in model.state_dict().items() if ".sge." not in k})
    for block in (block for stage in (1, 2, 3, 4) for block in getattr(model, f"layer{stage}")):
        block.sge.gate_point.register_forward_hook(lambda *args: torch.ones_like(args[-1]))
    x = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(model(x), plain(x))


def test_layers_carry_both_names():
    model = sge_resnet18()
    assert [layer.path for layer in layers(model)][:3] == ["layer1.0", "layer1.1", "layer2.0"]
    assert layers(model)[-1].title(7, 7) == "layer4.1: stage 5 (conv5_x), 7x7"
    assert default_layer(model) == "layer3.1"
    assert default_layer(sge_resnet50()) == "layer3.5"
    with pytest.raises(ValueError, match="Linear"):
        layers(torch.nn.Linear(1, 1))
