"""SGE-ResNet-18, 34, 50, 101 and 152: torchvision's ResNet with SGE in every block."""

from dataclasses import dataclass

from torch import Tensor, nn
from torchvision.models.resnet import (  # type: ignore[import-untyped]
    BasicBlock,
    Bottleneck,
    ResNet,
)

from sge_viz.sge import SpatialGroupEnhance

DEFAULT_LAYER = "layer3.5"
"""The paper's stage 4 (conv4_x) in a ResNet50, whose maps its Figure 2 shows."""


def _finish(
    x: Tensor, norm: nn.Module, sge: nn.Module, identity: Tensor, relu: nn.Module
) -> Tensor:
    """Return ``relu(sge(norm(x)) + identity)``."""
    if isinstance(sge, SpatialGroupEnhance):
        return sge.finish(x, norm, identity, relu)
    out: Tensor = sge(norm(x))
    out += identity
    return relu(out)  # type: ignore[no-any-return]


class SGEBottleneck(Bottleneck):  # type: ignore[misc]
    """torchvision's bottleneck with SGE after bn3, before the residual is added."""

    sge: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output for a feature map (B, C, H, W)."""
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        return _finish(self.conv3(out), self.bn3, self.sge, identity, self.relu)


class SGEBasicBlock(BasicBlock):  # type: ignore[misc]
    """torchvision's basic block with SGE after bn2, before the residual is added."""

    sge: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output for a feature map (B, C, H, W)."""
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        return _finish(self.conv2(out), self.bn2, self.sge, identity, self.relu)


class SGEResNet(ResNet):  # type: ignore[misc]
    """torchvision's ResNet with one SGE module, named ``sge``, in every block.

    Args:
        block: The kind of block.
        depths: Number of blocks in layer1, layer2, layer3 and layer4.
        num_classes: Outputs of the last layer.
        groups: Groups of every SGE module (the convolutions are not grouped).
        compile: Whether the SGE modules run compiled.
    """

    def __init__(
        self,
        block: type[SGEBottleneck] | type[SGEBasicBlock],
        depths: list[int],
        num_classes: int = 1000,
        groups: int = 64,
        *,
        compile: bool = False,
    ) -> None:
        super().__init__(block, depths, num_classes)
        for module in self.modules():
            if isinstance(module, SGEBottleneck | SGEBasicBlock):
                module.sge = SpatialGroupEnhance(groups, compile=compile)


def sge_resnet18(num_classes: int = 1000, groups: int = 64, *, compile: bool = False) -> SGEResNet:
    """Make an untrained SGE-ResNet-18 for pictures (B, 3, H, W)."""
    return SGEResNet(SGEBasicBlock, [2, 2, 2, 2], num_classes, groups, compile=compile)


def sge_resnet34(num_classes: int = 1000, groups: int = 64, *, compile: bool = False) -> SGEResNet:
    """Make an untrained SGE-ResNet-34 for pictures (B, 3, H, W)."""
    return SGEResNet(SGEBasicBlock, [3, 4, 6, 3], num_classes, groups, compile=compile)


def sge_resnet50(num_classes: int = 1000, groups: int = 64, *, compile: bool = False) -> SGEResNet:
    """Make an untrained SGE-ResNet-50 for pictures (B, 3, H, W)."""
    return SGEResNet(SGEBottleneck, [3, 4, 6, 3], num_classes, groups, compile=compile)


def sge_resnet101(num_classes: int = 1000, groups: int = 64, *, compile: bool = False) -> SGEResNet:
    """Make an untrained SGE-ResNet-101 for pictures (B, 3, H, W)."""
    return SGEResNet(SGEBottleneck, [3, 4, 23, 3], num_classes, groups, compile=compile)


def sge_resnet152(num_classes: int = 1000, groups: int = 64, *, compile: bool = False) -> SGEResNet:
    """Make an untrained SGE-ResNet-152 for pictures (B, 3, H, W)."""
    return SGEResNet(SGEBottleneck, [3, 8, 36, 3], num_classes, groups, compile=compile)


@dataclass(frozen=True)
class Layer:
    """One block of a ResNet, by both of its names.

    Attributes:
        path: Module path of the block, such as "layer3.5".
        stage: The paper's stage, 2 to 5 (layer1 to layer4).
        paper_name: The name in the ResNet paper's Table 1, such as "conv4_x".
        stride: Input pixels per cell of its maps.
    """

    path: str
    stage: int
    paper_name: str
    stride: int

    def title(self, height: int, width: int) -> str:
        """Name the layer for a reader, with the size of its maps in cells.

        >>> Layer("layer3.5", 4, "conv4_x", 16).title(14, 14)
        'layer3.5: stage 4 (conv4_x), 14x14'
        """
        return f"{self.path}: stage {self.stage} ({self.paper_name}), {height}x{width}"


def layers(model: nn.Module) -> tuple[Layer, ...]:
    """Return all blocks of a torchvision or SGE ResNet in forward order.

    Raises:
        ValueError: If ``model`` is not a ResNet.
    """
    if not isinstance(model, ResNet):
        raise ValueError(
            f"Only a ResNet has layers with the paper's names, not a {type(model).__name__}."
        )
    return tuple(
        Layer(f"layer{number}.{index}", number + 1, f"conv{number + 1}_x", 2 ** (number + 1))
        for number in (1, 2, 3, 4)
        for index in range(len(model.get_submodule(f"layer{number}")))
    )


def default_layer(model: nn.Module) -> str:
    """Return the path of the block whose maps are shown first: the last one of stage 4 (layer3).

    Raises:
        ValueError: If ``model`` is not a ResNet.
    """
    return [layer.path for layer in layers(model) if layer.stage == 4][-1]
