"""Throughput of the statistics against a bare loop that only decodes and runs the network.

Both go over the same pictures with the same worker processes and the same batch, in turns, so that
whatever else the machine does meets both. Needs no data: it draws its own JPEG files.

    python -m benchmarks.dataset [--pictures 384] [--rounds 3] [--folder FOLDER]
"""

import argparse
import dataclasses
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import nn

from sge_viz.memory import keep_memory
from sge_viz.resnet import sge_resnet50
from sge_viz.statistics import Folder, Plan, Settings, choose_layers, read_folder, survey
from sge_viz.statistics.folder import load


def draw(folder: Path, count: int) -> None:
    """Write JPEG files of about ImageNet's size: 500x375 blurred noise."""
    rng = np.random.default_rng(0)
    for number in range(count):
        noise = Image.fromarray(rng.integers(0, 256, (375, 500, 3), dtype=np.uint8))
        noise.filter(ImageFilter.GaussianBlur(2)).save(folder / f"{number:05d}.jpg", quality=90)


def bare(model: nn.Module, folder: Folder, plan: Plan, workers: int) -> float:
    """Decode and run the network, and return pictures a second."""
    batches = [batch for shard in plan.shards(len(folder)) for batch in plan.batches(shard)]
    started = time.perf_counter()
    with torch.inference_mode():
        for _, pictures, _ in load(folder, batches, workers):
            model(pictures)
    return len(folder) / (time.perf_counter() - started)


def counted(model: nn.Module, folder: Folder, plan: Plan, workers: int) -> float:
    """Take the statistics, shards and merging included, and return pictures a second."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as out:
        survey(model, folder, plan, Path(out, "run"), workers=workers)
    return len(folder) / (time.perf_counter() - started)


def main() -> None:
    """Print the ratio of throughputs for the default layers and for all of them."""
    keep_memory()  # as the shell and the page do
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=384)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="pictures to use instead of drawn ones")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    model = sge_resnet50().eval()
    with tempfile.TemporaryDirectory() as drawn:
        if arguments.folder is None:
            draw(Path(drawn), arguments.pictures)
        folder = read_folder(arguments.folder or drawn)
        count = min(len(folder), arguments.pictures)
        folder = dataclasses.replace(folder, paths=folder.paths[:count], sizes=folder.sizes[:count])
        default, everything = choose_layers(model), choose_layers(model, ["all"])
        plans = {
            "2 layers, no controls": Plan(default, Settings(controls=False)),
            "2 layers, controls": Plan(default, Settings()),
            "2 layers, controls, index": Plan(default, Settings(), strongest=9),
            "16 layers, no controls": Plan(everything, Settings(controls=False)),
        }
        print(f"{count} pictures, batch {arguments.batch}, {arguments.workers} workers")
        print(f"{'':28}{'bare img/s':>12}{'ours img/s':>12}{'ratio':>8}")
        for name, plan in plans.items():
            chosen = dataclasses.replace(plan, batch=arguments.batch)
            pairs = []
            for _ in range(arguments.rounds):
                run = (model, folder, chosen, arguments.workers)
                pairs.append((bare(*run), counted(*run)))
            ratio = float(np.median([ours / alone for alone, ours in pairs]))
            alone, ours = np.median(np.array(pairs), axis=0)
            print(f"{name:28}{alone:12.2f}{ours:12.2f}{ratio:8.3f}", flush=True)


if __name__ == "__main__":
    main()
