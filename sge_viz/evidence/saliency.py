"""The maps whose faithfulness is compared: a group's, the class evidence, Grad-CAM, random."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sge_viz.capture import capture
from sge_viz.classes import ClassLabel
from sge_viz.evidence.gradients import approximate_evidence
from sge_viz.evidence.ledger import ledger
from sge_viz.evidence.sharing import shared_copy
from sge_viz.evidence.trace import Trace, last_block, trace

DESCRIPTIONS = {
    "after": "norm of the group after SGE",
    "before": "norm of the group before SGE",
    "gate": "SGE's gate of the group",
    "group evidence": "the same group's exact evidence for the class, in the last block",
    "class evidence": "exact evidence of all groups together for the class, in the last block",
    "grad-cam": "Grad-CAM at the last block's output (Captum)",
    "random": "uniform noise on the layer's cells",
}
"""What each map is, by name."""


@dataclass(frozen=True, eq=False)
class Saliency:
    """The maps of one picture that say where the network looks, to be tested for faithfulness.

    Attributes:
        label: The class.
        layer: Path of the block of the group's maps, such as "layer3.5".
        group: The group, 0-based.
        maps: By name (`DESCRIPTIONS` says what they are), each (h, w), float64, on the CPU. "gate"
            and "after" exist only where there is SGE, "group evidence" only in the last block.
    """

    label: ClassLabel
    layer: str
    group: int
    maps: dict[str, Tensor]


def saliency(
    model: nn.Module,
    x: Tensor,
    layer: str,
    group: int | None = None,
    index: int | None = None,
    *,
    seed: int = 0,
) -> Saliency:
    """Return every kind of map for one picture.

    Args:
        model: A torchvision or SGE ResNet in eval mode.
        x: One picture, shape (1, 3, H, W).
        layer: Path of the block whose group is looked at, such as "layer3.5".
        group: The group, 0-based; None means the one that does most for the class
            (`strongest_group`).
        index: The class, 0-based; None means the network's first choice.
        seed: Of the random map.

    Raises:
        UnknownClassError: If there is no such class.
        UnknownLayerError: If there is no such layer.
        ValueError: If ``x`` is not one picture, there is no such group, or the network has no
            ledger.
    """
    if x.dim() != 4 or len(x) != 1:
        raise ValueError(f"Give one picture, of shape (1, 3, H, W), not {tuple(x.shape)}.")
    last = last_block(model)
    with capture(model, layer) as seen:
        passed = trace(model, x, [layer, last])
    groups = seen[layer]
    book = ledger(model, passed, index)
    label, evidence = book.classes[0], book.evidence().total[0]
    if group is None:
        group = strongest_group(model, passed, layer, label.index)
    if not 0 <= group < groups.before.shape[1]:
        raise ValueError(f"There is no group {group}: they are 0 to {groups.before.shape[1] - 1}.")
    maps = {"after": groups.after, "before": groups.before, "gate": groups.gate}
    found = {name: values[0, group] for name, values in maps.items() if values is not None}
    if groups.layer == last:
        found["group evidence"] = evidence[group]
    found["class evidence"] = evidence.sum(0)
    found["grad-cam"] = grad_cam(model, passed.input, label.index)
    generator = torch.Generator().manual_seed(seed)
    found["random"] = torch.rand(groups.before.shape[2:], generator=generator)
    maps64 = {name: values.double() for name, values in found.items()}
    return Saliency(label, groups.layer, group, maps64)


def strongest_group(model: nn.Module, passed: Trace, layer: str, index: int) -> int:
    """Return the group that does most for a class in a batch's first picture.

    In the last block by the ledger's contributions, which are exact; further down by gradient x
    activation, which is an approximation.
    """
    if passed.junction(layer).layer == last_block(model):
        contributions = ledger(model, passed, index).contributions
    else:
        contributions = approximate_evidence(model, passed, layer, index).contributions
    return int(contributions[0, :, 0].argmax())


def grad_cam(model: nn.Module, x: Tensor, index: int) -> Tensor:
    """Return Captum's Grad-CAM at the last block's output, shape (h, w), at least 0.

    Selvaraju et al., "Grad-CAM", ICCV 2017, arXiv 1610.02391.

    Args:
        model: A torchvision or SGE ResNet in eval mode.
        x: One picture, shape (1, 3, H, W).
        index: The class, 0-based.
    """
    # Imported here because it takes a second.
    from captum.attr import LayerGradCam  # type: ignore[import-untyped]  # noqa: PLC0415

    # Captum's hooks would act in every thread that runs the network.
    twin = shared_copy(model)
    with torch.inference_mode(False), torch.enable_grad():
        method = LayerGradCam(twin, twin.get_submodule(last_block(twin)))
        result: Tensor = method.attribute(x.clone(), target=index, relu_attributions=True)
    return result[0, 0].detach().cpu()
