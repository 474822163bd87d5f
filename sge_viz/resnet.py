"""SGE-ResNet-18, 34, 50, 101 and 152: torchvision's ResNet with SGE in every block."""

from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.resnet import (  # type: ignore[import-untyped]
    BasicBlock,
    Bottleneck,
    ResNet,
)

from sge_viz.sge import SpatialGroupEnhance, are_watched, compile_for, enhance

DEFAULT_LAYER = "layer3.5"
"""The paper's stage 4 (conv4_x) in a ResNet50, whose maps its Figure 2 shows."""


_Steps = tuple[tuple[nn.Conv2d, nn.BatchNorm2d], ...]
_Values = tuple[tuple[Any, ...], tuple[Any, ...]]


def _run(x: Tensor, identity: Tensor, steps: _Steps, sge: nn.Module, relu: nn.Module) -> Tensor:
    """Return ``relu(sge(y) + identity)``, y being ``x`` after the steps, with ``relu`` between.

    With SGE compiled it is one graph, where that changes nothing but the rounding: without
    gradients, the norms in evaluation, and no hook watching.
    """
    if isinstance(sge, SpatialGroupEnhance) and _is_one_graph(x, steps, sge, relu):
        kernels = (step[0].weight.shape for step in steps)
        key = (x.dtype, sge.groups, x.shape[1:], identity.shape[1:], *kernels)
        values = tuple(_values(*step) for step in steps)
        return compile_for(key, _block)(x, identity, values, sge.weight, sge.bias, sge.groups)
    for convolution, norm in steps[:-1]:
        x = relu(norm(convolution(x)))
    convolution, norm = steps[-1]
    out = norm(convolution(x))
    if isinstance(sge, SpatialGroupEnhance):
        out = sge.add_(out, identity)
    else:
        out = sge(out)
        out += identity
    return relu(out)  # type: ignore[no-any-return]


def _is_one_graph(x: Tensor, steps: _Steps, sge: SpatialGroupEnhance, relu: nn.Module) -> bool:
    if not sge.compiled or torch.is_grad_enabled() or torch.compiler.is_compiling():
        return False
    if x.device.type == "cpu" and not x.is_contiguous():
        return False
    usual = type(relu) is nn.ReLU and all(_is_usual(*step) for step in steps)
    return usual and sge.is_plain() and not are_watched(relu, *chain.from_iterable(steps))


def _is_usual(convolution: nn.Module, norm: nn.Module) -> bool:
    if type(convolution) is not nn.Conv2d or convolution.padding_mode != "zeros":
        return False
    return type(norm) is nn.BatchNorm2d and not norm.training and norm.running_mean is not None


def _values(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> _Values:
    """Return what `_block` gives to conv2d and to batch_norm."""
    c, n = convolution, norm
    kernel = (c.weight, c.bias, c.stride, c.padding, c.dilation, c.groups)
    return kernel, (n.running_mean, n.running_var, n.weight, n.bias, False, 0.0, n.eps)


def _block(
    x: Tensor,
    identity: Tensor,
    values: tuple[_Values, ...],
    weight: Tensor,
    bias: Tensor,
    groups: int,
) -> Tensor:
    """Do as `_run` to the values of the modules, as one function to compile."""
    for number, (kernel, norm) in enumerate(values, start=1):
        x = functional.batch_norm(functional.conv2d(x, *kernel), *norm)
        if number < len(values):
            x = x.relu_()
    return enhance(x, weight, bias, groups, identity).relu_()


class SGEBottleneck(Bottleneck):  # type: ignore[misc]
    """torchvision's bottleneck with SGE after bn3, before the residual is added."""

    sge: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output for a feature map (B, C, H, W)."""
        identity = x if self.downsample is None else self.downsample(x)
        steps = ((self.conv1, self.bn1), (self.conv2, self.bn2), (self.conv3, self.bn3))
        return _run(x, identity, steps, self.sge, self.relu)


class SGEBasicBlock(BasicBlock):  # type: ignore[misc]
    """torchvision's basic block with SGE after bn2, before the residual is added."""

    sge: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output for a feature map (B, C, H, W)."""
        identity = x if self.downsample is None else self.downsample(x)
        steps = ((self.conv1, self.bn1), (self.conv2, self.bn2))
        return _run(x, identity, steps, self.sge, self.relu)


class SGEResNet(ResNet):  # type: ignore[misc]
    """torchvision's ResNet with one SGE module, named ``sge``, in every block.

    Args:
        block: The kind of block.
        depths: Number of blocks in layer1, layer2, layer3 and layer4.
        num_classes: Outputs of the last layer.
        groups: Groups of every SGE module (the convolutions are not grouped).
        compile: Whether the SGE modules run compiled, and with them, where nobody looks, each block
            as one graph: without gradients, in evaluation, and without hooks on its modules. The
            first picture of a size then takes half a minute.
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
