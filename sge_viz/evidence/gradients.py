"""Gradient x activation: an approximation of what a group does, for blocks below the last."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sge_viz.classes import ClassLabel, labels
from sge_viz.evidence.trace import Trace, by_group, rest


@dataclass(frozen=True, eq=False)
class ApproximateEvidence:
    """Gradient x activation of every group of a block: an APPROXIMATION, not a contribution.

    It says what the logit would lose if it went on falling at its present rate while the group's
    branch is faded out. The network above is not linear, so the numbers need not add up to the
    logit, and `ablate_groups` measures what really happens. Only in the last block are they the
    ledger's exact ``through_sge``.

    Tensors are float64, on the CPU.

    Attributes:
        layer: Path of the block, such as "layer3.5".
        classes: The asked classes.
        maps: Gradient x activation summed over a group's channels, shape (B, K, G, H, W).
        input_size: Height and width in pixels of what the network was given.
        checkpoint: Name of the network's checkpoint, if its card is known.
    """

    layer: str
    classes: tuple[ClassLabel, ...]
    maps: Tensor
    input_size: tuple[int, int]
    checkpoint: str | None = None

    @property
    def contributions(self) -> Tensor:
        """The maps summed over the positions, shape (B, G, K): an approximation too."""
        return self.maps.sum((3, 4)).transpose(1, 2)


def approximate_evidence(
    model: nn.Module, trace: Trace, layer: str, classes: int | Iterable[int] | None = None
) -> ApproximateEvidence:
    """Approximate what a block's groups do to some classes by gradient x activation.

    The activation is the branch after SGE; the gradient is that of the class's logit (not of its
    probability) with respect to it.

    Args:
        model: The network that was traced.
        trace: A pass that holds ``layer``.
        layer: Path of the block.
        classes: Indices, 0-based; None means the first choice for the batch's first picture.

    Raises:
        UnknownClassError: If there is no such class.
        UnknownLayerError: If ``layer`` was not traced.
    """
    junction = trace.junction(layer)
    asked = labels(classes, trace.logits)
    with torch.inference_mode(False), torch.enable_grad():
        enhanced = junction.enhanced().detach().requires_grad_()
        logits = rest(model, junction.layer, (enhanced + junction.shortcut).relu())
        maps = []
        for label in asked:
            # Pictures do not meet in eval mode: the sum's gradient is each picture's own.
            total = logits[:, label.index].sum()
            (slope,) = torch.autograd.grad(total, enhanced, retain_graph=True)
            product = slope.cpu().double() * enhanced.detach().cpu().double()
            maps.append(by_group(product, junction.groups).sum(2))
    return ApproximateEvidence(
        layer=junction.layer,
        classes=asked,
        maps=torch.stack(maps, 1),
        input_size=trace.input_size,
        checkpoint=trace.checkpoint,
    )
