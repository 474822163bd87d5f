"""Distillation from packed pictures: views of a batch, cut from pictures and teacher alike."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

import torch
from torch import Tensor, nn
from torchvision.models.resnet import ResNet  # type: ignore[import-untyped]

from sge_viz.statistics.team import Team
from sge_viz.training.packing import Pack
from sge_viz.training.settings import BadSettings, Settings
from sge_viz.training.student import Student, Weights
from sge_viz.training.task import Batch, generator, places
from sge_viz.training.teacher import from_bytes
from sge_viz.training.views import random_softness, random_views

_STRIDE = 32
_ROOM = 0.8  # share of a GPU's free memory that pictures may take


class Distillation:
    """Training of a student on a pack; see `task.Task`."""

    def __init__(
        self, network: ResNet, pack: Pack, device: torch.device, weights: Weights | None = None
    ) -> None:
        """Prepare a distillation.

        Args:
            network: The student, with the teacher's classes.
            pack: What it learns from. It moves to a GPU as a whole where it fits.
            device: Where the network runs.
            weights: How much each part of the loss counts.

        Raises:
            BadSettings: The network has not as many classes as the teacher.
        """
        classes = len(pack.classifier[1])
        if network.fc.out_features != classes:
            raise BadSettings(
                f"The network has {network.fc.out_features} classes and the teacher {classes}: "
                "they must be as many."
            )
        self.network = network
        self.module: nn.Module = Student(network, pack.classifier, weights)
        self.sources = {source.name: source.pictures for source in pack.sources}
        self._device = device
        self._sources = _ranges(pack)
        self._labels = pack.labels
        self._pictures, self._features = _placed((pack.pictures, pack.features), device)

    def batches(self, settings: Settings, first: int, team: Team) -> Iterator[Batch]:
        """Yield (pictures, features, labels, label share); see `Student.forward`.

        Raises:
            BadSettings: A source to be repeated is not in the pack.
        """
        unknown = [name for name, _ in settings.repeats if name not in self._sources]
        if unknown:
            raise BadSettings(
                f"There is no source {unknown[0]!r} in the pack: it has {', '.join(self._sources)}."
            )
        rows = torch.cat(
            [
                torch.arange(source.start, source.stop).repeat(dict(settings.repeats).get(name, 1))
                for name, source in self._sources.items()
            ]
        )
        for step in range(first, settings.steps):
            mine = rows[places(len(rows), settings, step, team)]
            side = settings.side(step)
            random = generator(settings.seed, step, 0, 1)
            begin = team.rank * len(mine)
            views = random_views(settings.batch, random, settings.area)
            rows_of_team = slice(begin, begin + len(mine))
            softness = random_softness(settings.batch, random, settings.blur)[rows_of_team]
            views = views.part(rows_of_team)
            squares = _channels_first(self._rows(self._pictures, mine)) / 255
            pictures = views.of(squares, side, softness)
            features = from_bytes(_channels_first(self._rows(self._features, mine)))
            yield (
                pictures.contiguous(memory_format=torch.channels_last),
                views.of(features, -(-side // _STRIDE)),
                self._labels[mine].to(self._device),
                torch.tensor(settings.label_share),
            )

    def _rows(self, array: Tensor, rows: Tensor) -> Tensor:
        return array[rows.to(array.device)].to(self._device)


def _ranges(pack: Pack) -> dict[str, range]:
    """Return the rows of each source in a pack."""
    ends = list(accumulate(source.pictures for source in pack.sources))
    return {
        source.name: range(end - source.pictures, end)
        for source, end in zip(pack.sources, ends, strict=True)
    }


def _channels_first(array: Tensor) -> Tensor:
    return array.permute(0, 3, 1, 2).float()


def _placed(arrays: tuple[Tensor, ...], device: torch.device) -> tuple[Tensor, ...]:
    """Move arrays to a GPU if all of them fit there; otherwise leave them on disk."""
    if device.type != "cuda":
        return arrays
    free, _ = torch.cuda.mem_get_info(device)
    if sum(array.nbytes for array in arrays) > _ROOM * free:
        return arrays
    return tuple(array.to(device) for array in arrays)
