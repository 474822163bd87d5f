"""What capturing every layer adds to a forward pass of SGE-ResNet50: batch 1, 224 px, on the CPU.

python -m benchmarks.capture [--seconds 10]

Memory is kept between feature maps, as in the shell and the page.
"""

import argparse
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torchvision.models import resnet50  # type: ignore[import-untyped]

from benchmarks._timing import medians, run
from sge_viz.capture import capture
from sge_viz.memory import keep_memory
from sge_viz.resnet import sge_resnet50


def captured(model: nn.Module, x: Tensor) -> Callable[[], Tensor]:
    """Bind a model to its input, every pass inside a capture of its own."""

    def run_captured() -> Tensor:
        with capture(model):
            out: Tensor = model(x)
        return out

    return run_captured


def main() -> None:
    """Print the ratio of captured to bare forward passes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--seconds", type=float, default=10, help="length of one measurement")
    chosen = parser.parse_args()
    keep_memory()
    x = torch.randn(1, 3, 224, 224)
    print("network              bare ms   captured ms   ratio")
    for name, model in (("SGE-ResNet50", sge_resnet50()), ("plain ResNet50", resnet50())):
        model.eval()
        times = medians({"bare": run(model, x), "captured": captured(model, x)}, chosen.seconds)
        print(
            f"{name:20} {times['bare'] * 1000:7.1f} {times['captured'] * 1000:13.1f}"
            f"{times['captured'] / times['bare']:8.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
