"""Ordinary supervised training on class folders, with the published augmentation."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torchvision.models.resnet import ResNet  # type: ignore[import-untyped]
from torchvision.transforms.functional import (  # type: ignore[import-untyped]
    pil_to_tensor,
)

from sge_viz.images import BadPicture, open_picture
from sge_viz.statistics.folder import Folder
from sge_viz.statistics.team import Team
from sge_viz.training.settings import Settings
from sge_viz.training.student import normalised
from sge_viz.training.task import Batch, generator, places
from sge_viz.training.views import random_views

REFUSED = -1
_Key = tuple[int, int, int, int]
"""A picture's place, the side of its view, and the step and row that its view is drawn for."""


class Supervised:
    """Training of a classifier on a folder of class folders; see `task.Task`."""

    def __init__(
        self, network: ResNet, folder: Folder, device: torch.device, workers: int = 0
    ) -> None:
        """Prepare a training.

        Args:
            network: The classifier, with one class for each class folder.
            folder: Class folders.
            device: Where the network runs.
            workers: Processes that prepare pictures.

        Raises:
            ValueError: The folder has less than two class folders, or the network not as many
                classes.
        """
        classes = network.fc.out_features
        if not folder.classes:
            raise ValueError(
                f"{folder.root} has no class folders: put each class's pictures into a folder."
            )
        if len(folder.classes) < 2:
            raise ValueError(
                f"{folder.root} has one class folder: there is nothing to be told apart."
            )
        if len(folder.classes) != classes:
            raise ValueError(
                f"{folder.root} has {len(folder.classes)} class folders, and the network "
                f"{classes} classes: they must be as many."
            )
        self.network = network
        self.module: nn.Module = _Classifier(network)
        self.sources = {folder.root.name: len(folder)}
        self._folder, self._device, self._workers = folder, device, workers

    def batches(self, settings: Settings, first: int, team: Team) -> Iterator[Batch]:
        """Yield (pictures, labels): views (B, 3, side, side) in [0, 1], and classes (B,).

        Raises:
            ValueError: As many pictures as there are, one after the other, cannot be read.
        """
        unread = 0
        loader: DataLoader[tuple[Tensor, Tensor]] = DataLoader(
            _Views(self._folder, settings),  # type: ignore[arg-type]  # its keys are tuples
            batch_sampler=_Steps(len(self._folder), settings, first, team),
            num_workers=self._workers,
            pin_memory=self._device.type == "cuda",
        )
        for squares, labels in loader:
            unread = unread + len(labels) if (labels == REFUSED).all() else 0
            if unread >= len(self._folder):
                raise ValueError(f"The pictures of {self._folder.root} cannot be read.")
            pictures = squares.to(self._device, non_blocking=True).float() / 255
            yield (
                pictures.contiguous(memory_format=torch.channels_last),
                labels.to(self._device, non_blocking=True),
            )


class _Classifier(nn.Module):
    def __init__(self, network: ResNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, pictures: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return the cross-entropy of views (B, 3, H, W) in [0, 1], and how often it is right."""
        logits = self.network(normalised(pictures)).float()
        known = labels != REFUSED
        losses = functional.cross_entropy(logits, labels, ignore_index=REFUSED, reduction="sum")
        counted = known.sum().clamp(min=1)
        return {
            "loss": losses / counted,
            "top1": ((logits.argmax(1) == labels) & known).sum() / counted,
            "refused": (~known).float().mean(),
        }


class _Steps:
    """The keys of every batch from a step on, as DataLoader's batch sampler."""

    def __init__(self, length: int, settings: Settings, first: int, team: Team) -> None:
        self._length, self._settings, self._first, self._team = length, settings, first, team

    def __len__(self) -> int:
        return self._settings.steps - self._first

    def __iter__(self) -> Iterator[list[_Key]]:
        for step in range(self._first, self._settings.steps):
            side = self._settings.side(step)
            mine = places(self._length, self._settings, step, self._team)
            begin = self._team.rank * len(mine)
            yield [(place, side, step, begin + row) for row, place in enumerate(mine)]


class _Views(Dataset[tuple[Tensor, int]]):
    """One random view of a picture, or a black one without a class where it cannot be read."""

    def __init__(self, folder: Folder, settings: Settings) -> None:
        self._folder, self._settings = folder, settings

    def __getitem__(self, key: _Key) -> tuple[Tensor, int]:
        place, side, step, row = key
        try:
            image = open_picture(self._folder.root / self._folder.paths[place]).image
        except BadPicture:
            return torch.zeros(3, side, side, dtype=torch.uint8), REFUSED
        random = generator(self._settings.seed, step, row, 2)
        square = _view(image, side, random, self._settings.area)
        return pil_to_tensor(square), int(self._folder.labels[place])


def _view(
    image: Image.Image, side: int, random: torch.Generator, area: tuple[float, float]
) -> Image.Image:
    width, height = image.size
    view = random_views(1, random, area, aspect=width / height)
    left, top = float(view.left) * width, float(view.top) * height
    right = min(width, left + float(view.width) * width)
    bottom = min(height, top + float(view.height) * height)
    box = (left, top, right, bottom)
    square = image.resize((side, side), Image.Resampling.BILINEAR, box=box)
    if view.mirrored:
        square = square.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return square
