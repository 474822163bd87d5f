"""SGE against the published arithmetic, a plain copy and torchvision's ResNet50, on the CPU.

    python -m benchmarks.sge [--seconds 10] [--only module|network]

Every table is measured in one run, its ways taking turns; what counts are the ratios. Float32.
Memory is kept between feature maps, as in the shell and the page: otherwise what a way left in the
allocator decides how often the next one waits for new pages.
"""

import argparse
from collections import Counter
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torchvision.models import resnet50  # type: ignore[import-untyped]

from benchmarks._timing import medians, run
from sge_viz.memory import keep_memory
from sge_viz.resnet import sge_resnet50
from sge_viz.sge import SpatialGroupEnhance

SHAPES = {(256, 56): 3, (512, 28): 4, (1024, 14): 6, (2048, 7): 3}
"""Channels and side of the maps in a ResNet50 at 224 px, and in how many blocks."""
FORMATS = {"NCHW": torch.contiguous_format, "channels_last": torch.channels_last}


class PublishedSGE(nn.Module):
    """The published arithmetic, step by step in the order of the authors' implementation.

    It cannot view a channels_last map; there it is given a reshaped copy, the least it needs.
    """

    def __init__(self, groups: int = 64) -> None:
        super().__init__()
        self.groups = groups
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.weight = nn.Parameter(torch.zeros(1, groups, 1, 1))
        self.bias = nn.Parameter(torch.ones(1, groups, 1, 1))
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """Return the enhanced map (B, C, H, W)."""
        batch, channels, height, width = x.shape
        y = x.reshape(batch * self.groups, -1, height, width)
        similarity = (y * self.pool(y)).sum(dim=1, keepdim=True)
        flat = similarity.view(batch * self.groups, -1)
        flat = flat - flat.mean(dim=1, keepdim=True)
        flat = flat / (flat.std(dim=1, keepdim=True) + 1e-5)
        gate = flat.view(batch, self.groups, height, width) * self.weight + self.bias
        gate = gate.view(batch * self.groups, 1, height, width)
        out: Tensor = y * self.sigmoid(gate)
        return out.view(batch, channels, height, width)


def modules(seconds: float) -> None:
    """Print the module's time over the published one's and over a copy's."""
    published, eager = PublishedSGE(), SpatialGroupEnhance()
    compiled = SpatialGroupEnhance(compile=True)
    print("module               shape             eager/published  eager/copy  compiled/copy")
    for name, memory_format in FORMATS.items():
        for batch in (1, 8):
            total: Counter[str] = Counter()
            for (channels, side), blocks in SHAPES.items():
                x = torch.randn(batch, channels, side, side)
                x = x.contiguous(memory_format=memory_format)
                times = medians(
                    {
                        "copy": x.clone,
                        "published": run(published, x),
                        "eager": run(eager, x),
                        "compiled": run(compiled, x),
                    },
                    seconds / 10,
                )
                print(_ratios(name, str(tuple(x.shape)), times), flush=True)
                total.update({way: blocks * time for way, time in times.items()})
            print(_ratios(name, f"batch {batch}, all 16", total), flush=True)


def _ratios(name: str, shape: str, times: Mapping[str, float]) -> str:
    return (
        f"{name:20} {shape:20}"
        f"{times['eager'] / times['published']:12.2f}"
        f"{times['eager'] / times['copy']:12.1f}"
        f"{times['compiled'] / times['copy']:15.1f}"
    )


def networks(seconds: float) -> None:
    """Print each SGE-ResNet50's time over torchvision's ResNet50's at 224 px."""
    models = {"plain": resnet50(), "published": sge_resnet50(), "eager": sge_resnet50()}
    models["compiled"] = sge_resnet50(compile=True)
    for block in models["published"].modules():
        if hasattr(block, "sge"):
            block.sge = PublishedSGE()
    # One set of weights: where it lies in memory then slows all convolutions alike.
    weights = models["plain"].state_dict(keep_vars=True)
    for model in models.values():
        model.load_state_dict(weights, strict=False, assign=True)
    print("ResNet50             batch      plain ms   published       eager    compiled")
    for name, memory_format in FORMATS.items():
        for batch in (1, 8):
            x = torch.randn(batch, 3, 224, 224).contiguous(memory_format=memory_format)
            ways = {}
            for key, model in models.items():
                placed = model.eval().to(memory_format=memory_format)
                ways[key] = run(placed, x)
            times = medians(ways, seconds * (1 if batch == 1 else 3))
            ratios = "".join(f"{times[key] / times['plain']:12.3f}" for key in list(models)[1:])
            print(f"{name:20} {batch:5} {times['plain'] * 1000:13.1f}{ratios}", flush=True)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--seconds", type=float, default=10, help="length of one measurement")
    parser.add_argument("--only", choices=("module", "network"))
    chosen = parser.parse_args()
    keep_memory()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    if chosen.only != "network":
        modules(chosen.seconds)
    if chosen.only != "module":
        networks(chosen.seconds)


if __name__ == "__main__":
    main()
