"""The network a run begins with."""

from __future__ import annotations

from typing import Any

import torch
import torchvision.models as plain  # type: ignore[import-untyped]
from torch import Tensor, nn
from torchvision.models.resnet import (  # type: ignore[import-untyped]
    BasicBlock,
    Bottleneck,
    ResNet,
)

from sge_viz import resnet
from sge_viz.checkpoints import load_model
from sge_viz.training.settings import BadSettings

ARCHITECTURES = {
    maker.__name__: maker
    for maker in (
        resnet.sge_resnet18,
        resnet.sge_resnet34,
        resnet.sge_resnet50,
        resnet.sge_resnet101,
        resnet.sge_resnet152,
        plain.resnet18,
        plain.resnet34,
        plain.resnet50,
        plain.resnet101,
        plain.resnet152,
    )
}


def begin(architecture: str, classes: int, seed: int) -> ResNet:
    """Make an untrained network; each block begins as the identity.

    The last batch normalisation of each block starts at 0 (Goyal et al., arXiv 1706.02677).

    Raises:
        BadSettings: There is no such architecture.
    """
    if architecture not in ARCHITECTURES:
        raise BadSettings(
            f"There is no architecture {architecture!r}: choose one of {', '.join(ARCHITECTURES)}."
        )
    torch.manual_seed(seed)
    network: ResNet = ARCHITECTURES[architecture](num_classes=classes)
    for block in network.modules():
        if isinstance(block, Bottleneck):
            nn.init.zeros_(block.bn3.weight)
        elif isinstance(block, BasicBlock):
            nn.init.zeros_(block.bn2.weight)
    return network


def go_on(source: str, sge: bool | None = None) -> tuple[ResNet, str, str]:
    """Load weights to train further.

    Args:
        source: As for `load_model`.
        sge: False takes SGE out, see `plain_twin`; True puts it in, see `sge_twin`; None leaves the
            network as it is.

    Returns:
        The network on the CPU, its architecture's name, and the SHA-256 of the file.

    Raises:
        BadSettings: There is no SGE to take out, or there is one already.
    """
    network = load_model(source, "cpu")
    card: Any = network.card
    if sge is None:
        return network.requires_grad_(True), card.architecture, card.sha256
    if sge:
        return sge_twin(network), f"sge_{card.architecture}", card.sha256
    return plain_twin(network), card.architecture.removeprefix("sge_"), card.sha256


def plain_twin(network: nn.Module) -> ResNet:
    """Return the network without SGE, with features of the same size.

    Each group's usual gate, sigmoid(beta), is multiplied into the batch normalisation before it.

    Raises:
        BadSettings: It has no SGE.
    """
    tensors = network.state_dict()
    gates = _usual_gates(tensors)
    if not gates:
        raise BadSettings(f"This {type(network).__name__} has no SGE that could be left out.")
    kept = {key: tensor for key, tensor in tensors.items() if ".sge." not in key}
    kind, depths = _shape(network)
    twin = ResNet(kind, depths, num_classes=len(kept["fc.bias"]))
    twin.load_state_dict(_scaled(kept, gates))
    return twin


def sge_twin(network: nn.Module) -> resnet.SGEResNet:
    """Return the network with SGE in every block, which gives the same answers at first.

    gamma is 0 and beta 1, so that every gate is sigmoid(1); the batch normalisation before it is
    divided by that.

    Raises:
        BadSettings: It has SGE already.
    """
    tensors = network.state_dict()
    if any(".sge." in key for key in tensors):
        raise BadSettings(f"This {type(network).__name__} has SGE already.")
    kind, depths = _shape(network)
    block = resnet.SGEBottleneck if kind is Bottleneck else resnet.SGEBasicBlock
    twin = resnet.SGEResNet(block, depths, num_classes=len(tensors["fc.bias"]))
    untrained = twin.state_dict()
    inverse = {block: 1 / gate for block, gate in _usual_gates(untrained).items()}
    twin.load_state_dict(untrained | _scaled(tensors, inverse))
    return twin


def _shape(network: nn.Module) -> tuple[type[Bottleneck | BasicBlock], list[int]]:
    """Return the kind of a ResNet's blocks, and how many are in each layer."""
    depths = [len([*network.get_submodule(f"layer{stage}").children()]) for stage in (1, 2, 3, 4)]
    first = network.get_submodule("layer1.0")
    return (Bottleneck if isinstance(first, Bottleneck) else BasicBlock), depths


def _usual_gates(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return sigmoid(beta) of each group by the path of its block."""
    return {
        key.removesuffix(".sge.bias"): beta.flatten().sigmoid()
        for key, beta in tensors.items()
        if key.endswith(".sge.bias")
    }


def _scaled(tensors: dict[str, Tensor], factors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Multiply what blocks' last batch normalisations give by each group's factor."""
    scaled = dict(tensors)
    for block, factor in factors.items():
        norm = f"{block}.bn3" if f"{block}.bn3.weight" in tensors else f"{block}.bn2"
        for part in (f"{norm}.weight", f"{norm}.bias"):
            scaled[part] = tensors[part] * factor.repeat_interleave(
                len(tensors[part]) // len(factor)
            )
    return scaled
