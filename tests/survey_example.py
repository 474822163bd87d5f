"""A small network and a folder of small pictures, and a run over them in a process of its own.

python -m tests.survey_example FOLDER OUT RESULT [SECONDS A BATCH]
"""

from __future__ import annotations

import sys
import time
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from sge_viz.sge import SpatialGroupEnhance
from sge_viz.statistics import Plan, Result, Settings, choose_layers, read_folder, survey

SETTINGS = Settings(replicates=100)


class Small(nn.Module):
    """Two layers with SGE, of 4 and 8 groups, on 224 px."""

    def __init__(self) -> None:
        super().__init__()
        self.first = self._layer(3, 16, 32, 4)
        self.second = self._layer(16, 32, 1, 8)
        self.fc = nn.Linear(32, 10)

    @staticmethod
    def _layer(inputs, outputs, stride, groups):
        return nn.Sequential(
            OrderedDict(
                conv=nn.Conv2d(inputs, outputs, stride, stride),
                norm=nn.BatchNorm2d(outputs),
                sge=SpatialGroupEnhance(groups),
                relu=nn.ReLU(),
            )
        )

    def forward(self, x):
        return self.fc(self.second(self.first(x)).mean((2, 3)))


def small_network():
    torch.manual_seed(0)
    network = Small().eval()
    for module in network.modules():
        if isinstance(module, SpatialGroupEnhance):
            nn.init.normal_(module.weight)
    return network


def write_pictures(folder: Path, counts: dict[str, int]) -> None:
    """Write small random PNG files into class folders ("" for none)."""
    rng = np.random.default_rng(1)
    for name, count in counts.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            pixels = rng.integers(0, 256, (8, 10, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number:03d}.png")


def small_plan(network, **options) -> Plan:
    chosen = {"batch": 3, "shard": 7, "strongest": 3, **options}
    return Plan(choose_layers(network), SETTINGS, **chosen)


def run(folder: Path, out: Path | None, pause: float = 0.0, network=None, **options):
    network = network or small_network()
    pictures = read_folder(folder)
    plan = small_plan(network, **options)
    return survey(network, pictures, plan, out, progress=lambda done, bad: time.sleep(pause))


def arrays(outcome):
    return outcome.tallies.arrays()


if __name__ == "__main__":
    source, out, target = (Path(path) for path in sys.argv[1:4])
    outcome = run(source, out, float(sys.argv[4]) if len(sys.argv) > 4 else 0.0)
    if outcome is not None:
        Result.of(small_network(), read_folder(source), outcome).save(target)
