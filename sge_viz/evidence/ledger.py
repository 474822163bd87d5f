"""The ledger of a logit: exactly what every channel group of the last block adds to it.

After the last block's ReLU there are only an average over the P positions and one linear layer. So,
with out = relu(z) the block's output and W, b the linear layer's weights,

    logit_k = b_k + sum over groups g, positions p of  E_kg(p)
    E_kg(p) = 1/P * sum over the channels c of g of  W_kc * out_c(p)

E_kg is the evidence map of group g for class k, and its sum over the positions the group's
contribution.

How the ReLU is attributed. z = s + r, where s came through SGE (gate * branch) and r through the
shortcut. Where z > 0 the ReLU passes z on unchanged, so s and r are each credited with themselves;
where z <= 0 it passes nothing on, and both are credited with 0, whatever their values:

    out = 1[z > 0] * s  +  1[z > 0] * r

This is exact, cell by cell and channel by channel; one of the two may be negative. It does not
credit a part with having switched the ReLU on or off: taking SGE's part away would also move z
across 0 in other cells. What would happen then is a question for an intervention, not for this
split.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sge_viz.classes import ClassLabel, UnknownClassError, labels
from sge_viz.evidence.interventions import Intervention, acting_on, intervened
from sge_viz.evidence.trace import Junction, Trace, by_group, last_block


@dataclass(frozen=True, eq=False)
class EvidenceMaps:
    """Where every group speaks for or against one class, in logits per position.

    All are float64, on the CPU, of shape (B, G, H, W); positive speaks for the class.

    Attributes:
        label: The class.
        through_sge: What came through the branch and SGE, where the ReLU is active.
        through_shortcut: What came through the shortcut, where the ReLU is active.
    """

    label: ClassLabel
    through_sge: Tensor
    through_shortcut: Tensor

    @property
    def total(self) -> Tensor:
        """The evidence, shape (B, G, H, W): it sums to the logit less the bias."""
        return self.through_sge + self.through_shortcut


@dataclass(frozen=True, eq=False)
class Ledger:
    """Exactly what every group of the last block adds to the logits of the asked classes.

    All tensors are float64, on the CPU. G groups, K asked classes.

    Attributes:
        layer: Path of the last block, such as "layer4.2".
        classes: The asked classes.
        bias: The linear layer's bias, shape (K,).
        through_sge: Contributions through the branch and SGE, shape (B, G, K).
        through_shortcut: Contributions through the shortcut, shape (B, G, K).
        logits: What the network itself answered, shape (B, K). It differs from the ledger's sum by
            the network's own rounding, about 1e-6 in float32.
        input_size: Height and width in pixels of what the network was given.
        checkpoint: Name of the network's checkpoint, if its card is known.
    """

    layer: str
    classes: tuple[ClassLabel, ...]
    bias: Tensor
    through_sge: Tensor
    through_shortcut: Tensor
    logits: Tensor
    input_size: tuple[int, int]
    checkpoint: str | None
    _parts: tuple[Tensor, Tensor]
    _weight: Tensor

    @property
    def contributions(self) -> Tensor:
        """What each group adds, shape (B, G, K): ``through_sge + through_shortcut``, exactly."""
        return self.through_sge + self.through_shortcut

    @property
    def total(self) -> Tensor:
        """Bias plus all contributions, shape (B, K): the logits."""
        return self.bias + self.contributions.sum(1)

    def evidence(self, index: int | None = None) -> EvidenceMaps:
        """Return the evidence maps of one asked class; None means the first asked.

        Raises:
            UnknownClassError: If the class was not asked for.
        """
        indices = [label.index for label in self.classes]
        wanted = indices[0] if index is None else index
        if wanted not in indices:
            raise UnknownClassError(f"Class {wanted} was not asked for, only {indices}.")
        row = indices.index(wanted)
        groups = self.through_sge.shape[1]
        weight = self._weight[row].view(groups, -1)

        def spread(part: Tensor) -> Tensor:
            cells = part.shape[2] * part.shape[3]
            return torch.einsum("bgchw,gc->bghw", by_group(part, groups), weight) / cells

        sge, shortcut = self._parts
        return EvidenceMaps(self.classes[row], spread(sge), spread(shortcut))


def ledger(
    model: nn.Module,
    trace: Trace,
    classes: int | Iterable[int] | None = None,
) -> Ledger:
    """Book every group's exact contribution to the logits of some classes.

    Exact in any torchvision or SGE ResNet at any input size; a plain network's channels are split
    into 64 groups, and there "through SGE" means through the branch.

    Args:
        model: The network that was traced.
        trace: A pass that holds the last block.
        classes: Indices, 0-based; None means the first choice for the batch's first picture.

    Raises:
        UnknownClassError: If there is no such class.
        UnknownLayerError: If the last block was not traced.
        ValueError: If the head is not an average over positions and one linear layer.
    """
    head = _required_head(model)
    junction = trace.junction(last_block(model)).double()
    asked = labels(classes, trace.logits)
    rows = [label.index for label in asked]
    weight, bias = _float64(head.weight)[rows], _head_bias(head)[rows]
    parts = _through_relu(junction)

    def book(part: Tensor) -> Tensor:
        pooled = by_group(part.mean((2, 3)), junction.groups)
        return torch.einsum("bgc,kgc->bgk", pooled, by_group(weight, junction.groups))

    return Ledger(
        layer=junction.layer,
        classes=asked,
        bias=bias,
        through_sge=book(parts[0]),
        through_shortcut=book(parts[1]),
        logits=_float64(trace.logits)[:, rows],
        input_size=trace.input_size,
        checkpoint=trace.checkpoint,
        _parts=parts,
        _weight=weight,
    )


def predict(model: nn.Module, trace: Trace, *interventions: Intervention) -> Tensor:
    """Predict all logits under interventions in the last block, from the ledger's arithmetic alone.

    Nothing is run: the shortcut is known, SGE's part follows from the replaced gate, the ReLU is
    taken anew, and the result is booked as in the ledger.

    Returns:
        Logits, shape (B, classes), float64, on the CPU.

    Raises:
        ValueError: If an intervention acts in another block too, where this arithmetic does not
            hold: use `what_if`; or if the head is not an average and one linear layer.
    """
    head, last = _required_head(model), last_block(model)
    for intervention in interventions:
        if intervention.layers != (last,):
            raise ValueError(
                f"The ledger predicts interventions in {last} alone, not '{intervention}': "
                "use what_if, which runs the network."
            )
    acting_on(model, last, interventions)
    junction = intervened(trace.junction(last).double(), interventions)
    return junction.output().mean((2, 3)) @ _float64(head.weight).T + _head_bias(head)


def linear_head(model: nn.Module) -> nn.Linear | None:
    """Return the linear layer if it and an average over positions are the whole head."""
    pool, head = getattr(model, "avgpool", None), getattr(model, "fc", None)
    if not isinstance(pool, nn.AdaptiveAvgPool2d) or not isinstance(head, nn.Linear):
        return None
    return head if pool.output_size in (1, (1, 1)) else None


def _required_head(model: nn.Module) -> nn.Linear:
    if (head := linear_head(model)) is None:
        raise ValueError(
            "The ledger is exact only where the head is an average over all positions and one "
            "linear layer (avgpool, fc), as in torchvision's ResNets; this network's is not."
        )
    return head


def _through_relu(junction: Junction) -> tuple[Tensor, Tensor]:
    """Return what came through SGE and through the shortcut, where the ReLU passes it on."""
    enhanced = junction.enhanced()
    active = (enhanced + junction.shortcut) > 0
    return enhanced * active, junction.shortcut * active


def _float64(values: Tensor) -> Tensor:
    return values.detach().to("cpu", torch.float64)


def _head_bias(head: nn.Linear) -> Tensor:
    if head.bias is None:
        return torch.zeros(head.out_features, dtype=torch.float64)
    return _float64(head.bias)
