"""What a change does to the answer: logits, probabilities and top-5, before and after."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sge_viz.classes import Prediction, top5
from sge_viz.evidence.interventions import Intervention, acting_on, intervene, intervened
from sge_viz.evidence.trace import Trace, blocks, rest
from sge_viz.evidence.variants import changed_part


@dataclass(frozen=True, eq=False)
class Answer:
    """What a network says of a batch of pictures.

    Attributes:
        logits: Shape (B, classes), float32, on the CPU.
    """

    logits: Tensor

    @property
    def probabilities(self) -> Tensor:
        """Softmax of the logits, shape (B, classes), in [0, 1]."""
        return self.logits.softmax(1)

    @property
    def top5(self) -> tuple[tuple[Prediction, ...], ...]:
        """The five most probable classes of each picture, best first (fewer in a smaller head)."""
        return tuple(top5(logits) for logits in self.logits)


@dataclass(frozen=True, eq=False)
class Outcome:
    """A network's answer before and after interventions, or of a network and its variant.

    Attributes:
        before: The answer of the network as it is.
        after: The answer under the interventions, or of the variant.
        what: What was changed, in words.
        input_size: Height and width in pixels of what the network was given.
        checkpoint: Name of the network's checkpoint, if its card is known.
    """

    before: Answer
    after: Answer
    what: str
    input_size: tuple[int, int]
    checkpoint: str | None = None


def what_if(model: nn.Module, trace: Trace, *interventions: Intervention) -> Outcome:
    """Answer how the network's answer changes under interventions.

    Starts at the first block that an intervention changes, if it was traced, and not at the
    picture: what comes before stays what it was.

    Args:
        model: The network that was traced.
        trace: Its pass without interventions.
        interventions: What to do; none at all changes nothing.

    Raises:
        UnknownLayerError: If a layer does not exist (a KeyError).
        ValueError: If a group does not exist, or a block has no gate to replace.
    """
    changed = [path for path in blocks(model) if acting_on(model, path, interventions)]
    with torch.inference_mode(), intervene(model, *interventions):
        if not changed:
            logits = trace.logits
        elif (first := changed[0]) in trace.junctions:
            acting = acting_on(model, first, interventions)
            output = intervened(trace.junction(first), acting).output()
            logits = rest(model, first, output)
        else:
            logits = model(trace.input)
    return Outcome(
        before=answer(trace.logits),
        after=answer(logits),
        what="; ".join(map(str, interventions)) or "nothing changed",
        input_size=trace.input_size,
        checkpoint=trace.checkpoint,
    )


def of_variant(changed: nn.Module, trace: Trace) -> Outcome:
    """Answer how a variant's answer differs from the network's that it is a variant of.

    Args:
        changed: From `variant`.
        trace: The original network's pass.
    """
    with torch.inference_mode():
        logits = changed(trace.input)
    return Outcome(
        before=answer(trace.logits),
        after=answer(logits),
        what=changed_part(changed),
        input_size=trace.input_size,
        checkpoint=trace.checkpoint,
    )


def answer(logits: Tensor) -> Answer:
    """Take logits (B, classes) off the network's device."""
    with torch.inference_mode(False), torch.no_grad():
        return Answer(logits.detach().to("cpu", torch.float32, copy=True))
