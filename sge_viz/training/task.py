"""What a training run learns from: batches that depend on the step alone, and their loss."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor, nn
from torchvision.models.resnet import ResNet  # type: ignore[import-untyped]

from sge_viz.statistics.team import Team
from sge_viz.training.settings import BadSettings, Settings

Batch = tuple[Tensor, ...]


class Task(Protocol):
    """One kind of training.

    Attributes:
        network: What is trained for later use.
        module: The network and all that is trained with it. Called with a batch it returns named
            values, of which "loss" is minimised.
        sources: What it learns from, name and number of pictures.
    """

    network: ResNet
    module: nn.Module
    sources: dict[str, int]

    def batches(self, settings: Settings, first: int, team: Team) -> Iterator[Batch]:
        """Yield this process's batches from step `first` on, the same in every run."""
        ...


def places(length: int, settings: Settings, step: int, team: Team) -> list[int]:
    """Return the pictures of a step for one process: each is seen once before any is seen again.

    Args:
        length: Pictures in all.
        settings: The batch size and the seed.
        step: The step.
        team: This process among all; every one gets an equal share.

    Raises:
        BadSettings: The batch cannot be shared out equally.
    """
    if settings.batch % team.size:
        raise BadSettings(
            f"A batch of {settings.batch} cannot be shared out to {team.size} processes."
        )
    share = settings.batch // team.size
    begin = step * settings.batch + team.rank * share
    return [place(length, settings.seed, position) for position in range(begin, begin + share)]


_orders: dict[tuple[int, int, int], Tensor] = {}


def place(length: int, seed: int, position: int) -> int:
    """Return the picture at a position of the endless sequence of shuffled passes."""
    key = (length, seed, position // length)
    if key not in _orders:
        _orders.clear()  # one pass is enough; two alternate only in the batch between them
        _orders[key] = torch.randperm(length, generator=generator(seed, key[2]))
    return int(_orders[key][position % length])


def generator(*numbers: int) -> torch.Generator:
    """Return a random generator that is the same for the same numbers, and new for others."""
    mixed = 0
    for number in numbers:
        mixed = (mixed * 1_000_003 + number + 1) % (2**63 - 1)
    return torch.Generator().manual_seed(mixed)
