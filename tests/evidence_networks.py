"""Small random networks, and slow plain references, for the tests of evidence."""

import copy
from functools import lru_cache

import torch
from torch import Tensor, nn
from torchvision.models import resnet18, resnet50

from sge_viz.resnet import sge_resnet18, sge_resnet50

NETWORKS = {
    "sge_resnet18": lambda: sge_resnet18(num_classes=7),
    "sge_resnet50": lambda: sge_resnet50(num_classes=7),
    "32 groups": lambda: sge_resnet18(num_classes=7, groups=32),
    "resnet18": lambda: resnet18(num_classes=7),
    "resnet50": lambda: resnet50(num_classes=7),
}


def network(name: str) -> nn.Module:
    """A network whose every part does something: no zero gammas, no standard batch norms."""
    return copy.deepcopy(_made(name))


@lru_cache
def _made(name: str) -> nn.Module:
    torch.manual_seed(0)
    model = NETWORKS[name]()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 0.6, 0.2)
            nn.init.normal_(module.bias, 0, 0.2)
            nn.init.normal_(module.running_mean, 0, 0.2)
        elif hasattr(module, "gate_point"):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    nn.init.normal_(model.fc.weight, 0, 0.5)  # logits of a trained network's size
    return model.eval()


def hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def last_block(model: nn.Module) -> nn.Module:
    return model.layer4[-1]


def parts(model: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """The last block's branch (after SGE) and its shortcut, by plain hooks of our own."""
    block, found = last_block(model), {}
    point = next(getattr(block, n) for n in ("sge", "bn3", "bn2") if hasattr(block, n))
    handles = [
        point.register_forward_hook(lambda _, __, out: found.update(branch=out.clone())),
        block.register_forward_pre_hook(lambda _, args: found.update(shortcut=args[0].clone())),
    ]
    with torch.no_grad():
        model(x)
    for handle in handles:
        handle.remove()
    return found["branch"], found["shortcut"]
