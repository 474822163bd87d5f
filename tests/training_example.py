"""A small network, teacher and pack to train with, and runs by several processes.

torchrun --nproc-per-node 2 -m tests.training_example PACK FOLDER OUT
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from PIL import Image
from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet

from sge_viz.resnet import SGEBasicBlock, SGEResNet
from sge_viz.statistics import read_folder
from sge_viz.statistics.accuracy import wordnet_ids
from sge_viz.statistics.team import Team, join
from sge_viz.training.distil import Distillation
from sge_viz.training.loop import train
from sge_viz.training.packing import open_pack, pack
from sge_viz.training.settings import Settings
from sge_viz.training.supervised import Supervised

CPU = torch.device("cpu")
FEATURES, SIDE = 8, 64
LABELLED, OTHERS = 6, 10
"""Pictures of two ImageNet classes, and of none, in the pack of `make_pack`."""


class StubTeacher(nn.Module):
    """Stands where EfficientNet-Lite does: 8 features of every 32nd pixel, and 1,000 classes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.name = SimpleNamespace(title="stub")
        self.side = 96
        self.cells = nn.Conv2d(3, FEATURES, 32, 32)
        self.classifier = nn.Linear(FEATURES, 1000)
        nn.init.normal_(self.cells.weight, std=0.1)
        self.requires_grad_(False)

    def forward(self, pictures):
        return 3 * self.cells(pictures - 0.5).relu().clamp(max=2)


def write_pictures(folder: Path, counts: dict[str, int], seed: int = 1) -> None:
    """Write PNG files of soft random colours, of all shapes, into sub-folders ("" for none)."""
    rng = np.random.default_rng(seed)
    for name, count in counts.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            low = Image.fromarray(rng.integers(0, 256, (3, 3, 3), dtype=np.uint8))
            size = tuple(int(side) for side in rng.integers(60, 100, 2))
            picture = low.resize(size, Image.Resampling.BICUBIC)
            picture.save(folder / name / f"{number:03d}.png")


def make_pack(folder: Path):
    """Pack a folder with two ImageNet classes and one of unknown pictures."""
    ids = wordnet_ids()
    half = LABELLED // 2
    write_pictures(folder / "known", {ids[207]: half, ids[281]: half})
    write_pictures(folder / "wild", {"": OTHERS}, seed=2)
    sources = [folder / "known", folder / "wild"]
    return pack(sources, folder / "pack", StubTeacher(), side=SIDE, batch=4)


def small_network(classes: int = 1000) -> SGEResNet:
    """An SGE-ResNet of four blocks, with 8 groups."""
    torch.manual_seed(0)
    return SGEResNet(SGEBasicBlock, [1, 1, 1, 1], classes, 8)


def lone_network(classes: int = 1000) -> ResNet:
    """A ResNet in which no picture's features depend on the other pictures of its batch."""
    torch.manual_seed(0)
    return ResNet(BasicBlock, [1, 1, 1, 1], classes, norm_layer=lambda c: nn.GroupNorm(4, c))


def small_settings(**options) -> Settings:
    usual = {
        "task": "distil",
        "architecture": "small",
        "images": 48,
        "batch": 8,
        "phases": ((32, 0.5), (64, 0.5)),
        "precision": "float32",
        "ema": 0.9,
        "compile": False,
    }
    return Settings(**usual | options)


def supervised_settings(**options) -> Settings:
    usual = {"task": "supervised", "optimiser": "sgd", "rate": 0.01, "area": (0.3, 1.0)}
    return small_settings(**usual | options)


SGD = small_settings(ema=0.0, optimiser="sgd", rate=0.01)


def distillation(packed, network):
    """A distillation of which all that is random begins alike."""
    torch.manual_seed(1)
    return Distillation(network, open_pack(packed), CPU)


def run(task, settings, out, **options):
    return train(task, settings, out, CPU, report_every=1, **options)


def together(packed: Path, folder: Path, out: Path, team: Team) -> None:
    """Train in every way that the tests compare; keep each process's last weights."""
    pictures = read_folder(folder)

    def keep(name: str, network: nn.Module) -> None:
        torch.save(network.state_dict(), out / f"{name}-{team.rank}.pt")

    def student():
        return distillation(packed, small_network())

    settings = small_settings(ema=0.0)
    keep("lone", run(distillation(packed, lone_network()), SGD, out / "lone", team=team))
    keep("whole", run(student(), settings, out / "whole", team=team))
    begun = {"out": out / "stopped", "team": team}
    run(student(), settings, stop_after=3, **begun)
    keep("stopped", run(student(), settings, **begun))
    labels = Supervised(lone_network(2), pictures, CPU)
    keep("labels", run(labels, supervised_settings(ema=0.0), out / "labels", team=team))


if __name__ == "__main__":
    with join() as team:
        together(*map(Path, sys.argv[1:4]), team)
