"""What a network has learnt, measured on pictures it was never trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sge_viz.capture import Reading, watch
from sge_viz.sge import SpatialGroupEnhance
from sge_viz.statistics.folder import Folder, load
from sge_viz.training.agreement import Agreement, Correlations, agreement
from sge_viz.training.student import denormalised
from sge_viz.training.teacher import Teacher
from sge_viz.training.views import whole_views

DOGS, CATS = slice(151, 269), slice(281, 286)
"""ImageNet's classes of domestic dogs and cats."""

WITHOUT_SGE = 64
"""Groups of neighbouring channels in a layer without SGE."""

Progress = Callable[[int], None]
"""Called with the number of pictures done."""


@dataclass(frozen=True)
class LayerQuality:
    """One layer.

    Attributes:
        before: Agreement of the channels of a group, before SGE where there is SGE.
        after: The same after SGE; None without SGE.
        gate_contrast: Mean over groups and pictures of max - min of the gate over a map; likewise.
        mean_abs_gamma: Mean absolute gamma over the groups; likewise.
    """

    before: Agreement
    after: Agreement | None
    gate_contrast: float | None
    mean_abs_gamma: float | None


@dataclass(frozen=True)
class PetQuality:
    """Cats and dogs.

    Attributes:
        pictures: How many were counted.
        cats_or_dogs: Percent where the larger of the two sums of probabilities, of the 5 cats' and
            the 118 dogs' classes, is the right animal's.
        teacher_met: Percent where the network's first choice of all classes is the teacher's.
        teacher_cats_or_dogs: The first percentage, for the teacher.
    """

    pictures: int
    cats_or_dogs: float
    teacher_met: float
    teacher_cats_or_dogs: float


def layer_quality(
    model: nn.Module,
    folder: Folder,
    layers: tuple[str, ...],
    *,
    limit: int = 500,
    batch: int = 16,
    workers: int = 0,
    progress: Progress | None = None,
) -> dict[str, LayerQuality]:
    """Measure layers on evenly spaced pictures of a folder, with the published preprocessing.

    Args:
        model: A ResNet, on its device. Without SGE its channels are split into 64 groups.
        folder: Pictures.
        layers: Block paths.
        limit: Pictures at most.
        batch: Pictures a pass.
        workers: Processes that decode.
        progress: Told how far it is.

    Raises:
        ValueError: No picture could be read.
    """
    found = {layer: _Findings() for layer in layers}
    with watch(model, lambda reading: found[reading.layer].add(reading), layers):
        for _ in _passes(model, folder, limit, batch, workers, progress):
            pass
    return {layer: findings.quality() for layer, findings in found.items()}


class _Findings:
    """What is gathered of one layer."""

    def __init__(self) -> None:
        self._before, self._after = Correlations(), Correlations()
        self._contrasts: list[Tensor] = []
        self._sge: SpatialGroupEnhance | None = None

    def add(self, reading: Reading) -> None:
        self._before.add(reading.x)
        self._sge = reading.sge
        if reading.gate is None:
            return
        gate = reading.gate.float()
        self._contrasts.append((gate.amax((2, 3)) - gate.amin((2, 3))).cpu())
        size = reading.x.shape[1] // gate.shape[1]
        self._after.add(reading.x.float() * gate.repeat_interleave(size, 1))

    def quality(self) -> LayerQuality:
        if self._sge is None:
            return LayerQuality(agreement(self._before.matrix(), WITHOUT_SGE), None, None, None)
        groups = self._sge.groups
        return LayerQuality(
            before=agreement(self._before.matrix(), groups),
            after=agreement(self._after.matrix(), groups),
            gate_contrast=float(torch.cat(self._contrasts).mean()),
            mean_abs_gamma=float(self._sge.weight.detach().abs().mean()),
        )


def pet_quality(
    model: nn.Module,
    folder: Folder,
    teacher: Teacher,
    *,
    batch: int = 16,
    workers: int = 0,
    progress: Progress | None = None,
) -> PetQuality:
    """Measure how well cats and dogs are told apart, and how often the teacher's answer is met.

    Args:
        model: A network of ImageNet's 1,000 classes, on its device.
        folder: Pictures in sub-folders "cat" and "dog".
        teacher: Whose first choice is to be met; it sees the same crops.
        batch: Pictures a pass.
        workers: Processes that decode.
        progress: Told how far it is.

    Raises:
        ValueError: The folder has other sub-folders, or no picture could be read.
    """
    if folder.classes != ("cat", "dog"):
        raise ValueError(f"{folder.root} must have the sub-folders cat and dog, and no others.")
    teacher = teacher.to(next(model.parameters()).device)
    labels = torch.from_numpy(folder.labels)
    right, met, teachers = [], [], []
    for places, inputs, logits in _passes(model, folder, len(folder), batch, workers, progress):
        pictures = whole_views(len(inputs)).of(denormalised(inputs), teacher.side)
        answers = teacher.classifier(teacher(pictures).mean((2, 3)))
        dogs = labels[places] == 1
        right.append((_dog(logits) == dogs).float())
        teachers.append((_dog(answers) == dogs).float())
        met.append((logits.argmax(1) == answers.argmax(1)).float().cpu())
    return PetQuality(
        pictures=sum(map(len, right)),
        cats_or_dogs=100 * float(torch.cat(right).mean()),
        teacher_met=100 * float(torch.cat(met).mean()),
        teacher_cats_or_dogs=100 * float(torch.cat(teachers).mean()),
    )


def _dog(logits: Tensor) -> Tensor:
    scores = logits.softmax(1)
    return (scores[:, DOGS].sum(1) > scores[:, CATS].sum(1)).cpu()


@torch.inference_mode()
def _passes(
    model: nn.Module,
    folder: Folder,
    limit: int,
    batch: int,
    workers: int,
    progress: Progress | None,
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield (places, inputs, logits) of up to `limit` evenly spaced pictures."""
    device = next(model.parameters()).device
    count = min(limit, len(folder))
    places = [index * len(folder) // count for index in range(count)]
    rows = [places[first : first + batch] for first in range(0, count, batch)]
    done = seen = 0
    for found, pictures, refused in load(folder, rows, workers):
        done += len(found) + len(refused)
        if len(found):
            inputs = pictures.to(device)
            seen += len(found)
            yield found, inputs, model(inputs)
        if progress is not None:
            progress(done)
    if not seen:
        raise ValueError(f"No picture of {folder.root} could be read.")
