"""Every group of a block replaced by itself: one batched run that starts at the block."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sge_viz.evidence.interventions import (
    ZEROED,
    Intervention,
    Replacement,
    acting_on,
    intervened,
)
from sge_viz.evidence.ledger import linear_head
from sge_viz.evidence.outcome import Answer, answer
from sge_viz.evidence.trace import Junction, Trace, by_group, last_block, rest


@dataclass(frozen=True, eq=False)
class Ablations:
    """The answers with one group of a block replaced, for every group by itself.

    Attributes:
        layer: Path of the block, such as "layer4.2".
        replacement: What was put in place of the group's gate.
        groups: The groups that were replaced, 0-based, in the order of ``after``.
        before: The answer of the network as it is.
        after: Logits with that group replaced, shape (B, len(groups), classes), float32, CPU.
        input_size: Height and width in pixels of what the network was given.
        checkpoint: Name of the network's checkpoint, if its card is known.
    """

    layer: str
    replacement: Replacement
    groups: tuple[int, ...]
    before: Answer
    after: Tensor
    input_size: tuple[int, int]
    checkpoint: str | None = None

    @property
    def logit_drop(self) -> Tensor:
        """What each class's logit loses without the group, (B, len(groups), classes)."""
        return self.before.logits[:, None] - self.after

    @property
    def probability_drop(self) -> Tensor:
        """What each class's probability loses without it, (B, len(groups), classes)."""
        return self.before.probabilities[:, None] - self.after.softmax(2)


def ablate_groups(
    model: nn.Module,
    trace: Trace,
    layer: str,
    replacement: Replacement = ZEROED,
    groups: Iterable[int] | None = None,
    *,
    chunk: int = 16,
) -> Ablations:
    """Replace the gate of each group of a block by itself, the other groups left as they are.

    Equal to one hooked forward pass a group within rounding. In the last block only the group's own
    channels of the pooled vector change, so no convolution is run; in a block further down what
    follows it runs on ``chunk`` groups at a time.

    Args:
        model: The network that was traced.
        trace: A pass that holds ``layer``.
        layer: Path of the block.
        replacement: What takes the gate's place.
        groups: Which groups, 0-based; None means all.
        chunk: Groups in one batch.

    Raises:
        UnknownLayerError: If ``layer`` was not traced.
        ValueError: If a group does not exist, or the block has no gate to replace.
    """
    junction = trace.junction(layer)
    layer = junction.layer
    chosen = tuple(range(junction.groups)) if groups is None else tuple(groups)
    everything = Intervention(replacement, layer, chosen)
    acting_on(model, layer, [everything])
    with torch.inference_mode():
        changed = intervened(junction, [everything]).output()
        if layer == last_block(model) and linear_head(model) is not None:
            after = _by_pooled_vector(model, trace, junction, changed, chosen)
        else:
            after = _by_running(model, layer, junction, changed, chosen, chunk)
    return Ablations(
        layer=layer,
        replacement=replacement,
        groups=chosen,
        before=answer(trace.logits),
        after=answer(after).logits,
        input_size=trace.input_size,
        checkpoint=trace.checkpoint,
    )


def _by_pooled_vector(
    model: nn.Module, trace: Trace, junction: Junction, changed: Tensor, groups: tuple[int, ...]
) -> Tensor:
    head = linear_head(model)
    assert head is not None
    pooled = by_group((changed - junction.output()).mean((2, 3)), junction.groups)
    weight = by_group(head.weight, junction.groups)
    chosen = list(groups)
    change = torch.einsum("bgc,kgc->bgk", pooled[:, chosen], weight[:, chosen])
    return trace.logits[:, None] + change


def _by_running(
    model: nn.Module,
    layer: str,
    junction: Junction,
    changed: Tensor,
    groups: tuple[int, ...],
    chunk: int,
) -> Tensor:
    output = junction.output()
    size = output.shape[1] // junction.groups
    rows = []
    for picture in range(len(output)):
        for start in range(0, len(groups), chunk):
            part = groups[start : start + chunk]
            batch = output[picture].repeat(len(part), 1, 1, 1)
            for row, group in enumerate(part):
                channels = slice(group * size, (group + 1) * size)
                batch[row, channels] = changed[picture, channels]
            rows.append(rest(model, layer, batch))
    return torch.cat(rows).view(len(output), len(groups), -1)
