"""The network a run begins with."""

from __future__ import annotations

from typing import Any

import torch
import torchvision.models as plain  # type: ignore[import-untyped]
from torch import nn
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


def go_on(source: str, without_sge: bool) -> tuple[ResNet, str, str]:
    """Load weights to train further.

    Args:
        source: As for `load_model`.
        without_sge: Take SGE out. Each group's usual gate, sigmoid(beta), is multiplied into the
            batch normalisation before it, so that the network begins with features of their size.

    Returns:
        The network on the CPU, its architecture's name, and the SHA-256 of the file.
    """
    network = load_model(source, "cpu")
    card: Any = network.card
    if not without_sge:
        return network.requires_grad_(True), card.architecture, card.sha256
    return plain_twin(network), card.architecture.removeprefix("sge_"), card.sha256


def plain_twin(network: nn.Module) -> ResNet:
    """Return the network without SGE, its usual gates folded into the batch normalisation.

    Raises:
        BadSettings: It has no SGE.
    """
    name = type(network).__name__
    tensors = network.state_dict()
    gates = {key: t for key, t in tensors.items() if key.endswith(".sge.bias")}
    if not gates:
        raise BadSettings(f"This {name} has no SGE that could be left out.")
    for key, beta in gates.items():
        block = key.removesuffix(".sge.bias")
        norm = f"{block}.bn3" if f"{block}.bn3.weight" in tensors else f"{block}.bn2"
        for part in (f"{norm}.weight", f"{norm}.bias"):
            gate = beta.flatten().sigmoid()
            tensors[part] = tensors[part] * gate.repeat_interleave(len(tensors[part]) // len(gate))
    kept = {key: tensor for key, tensor in tensors.items() if ".sge." not in key}
    depths = [len([*network.get_submodule(f"layer{stage}").children()]) for stage in (1, 2, 3, 4)]
    kind = Bottleneck if "layer1.0.conv3.weight" in kept else BasicBlock
    twin = ResNet(kind, depths, num_classes=len(kept["fc.bias"]))
    twin.load_state_dict(kept)
    return twin
