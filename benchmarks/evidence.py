"""What evidence, interventions and ablations cost, in forward passes of the same network.

    python -m benchmarks.evidence [--size 224] [--repeats 7]

The network is an SGE-ResNet50 with random weights at batch 1; times are the best of the repeats,
the ways take turns with the forward pass.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial

import torch

from sge_viz.evidence.ablations import ablate_groups
from sge_viz.evidence.gradients import approximate_evidence
from sge_viz.evidence.interventions import OFF, ZEROED, Intervention, Mean, Shuffled
from sge_viz.evidence.ledger import ledger
from sge_viz.evidence.outcome import what_if
from sge_viz.evidence.trace import trace
from sge_viz.resnet import sge_resnet50

LIMITS = {"64 ablations, layer4.2": 0.5, "64 ablations, layer3.5": 16.0}
"""In forward passes."""


def best(ways: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Return the shortest time of each way in seconds; the ways take turns."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats + 1):  # the first round warms up
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            times[name].append(time.perf_counter() - start)
    return {name: min(taken[1:]) for name, taken in times.items()}


def main() -> None:
    """Print a line for each way: milliseconds, and forward passes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=224, help="input pixels a side (default: 224)")
    parser.add_argument("--repeats", type=int, default=7, help="rounds (default: 7)")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    model = sge_resnet50().eval()
    x = torch.randn(1, 3, arguments.size, arguments.size)
    passed = trace(model, x)

    def forward() -> object:
        with torch.inference_mode():
            return model(x)

    changes = {
        "SGE off everywhere": Intervention(OFF),
        "gates' means everywhere": Intervention(Mean()),
        "gates shuffled everywhere": Intervention(Shuffled()),
        "group 17 off, layer3.5": Intervention(ZEROED, "layer3.5", 17),
        "group 17 off, layer4.2": Intervention(ZEROED, "layer4.2", 17),
    }
    ways: dict[str, Callable[[], object]] = {
        "forward pass": forward,
        "trace of all 16 blocks": lambda: trace(model, x),
        "ledger, 5 classes": lambda: ledger(model, passed, range(5)),
        "gradient x activation, layer3.5": lambda: approximate_evidence(model, passed, "layer3.5"),
        "64 ablations, layer4.2": lambda: ablate_groups(model, passed, "layer4.2"),
        "64 ablations, layer3.5": lambda: ablate_groups(model, passed, "layer3.5"),
    }
    ways |= {name: partial(what_if, model, passed, change) for name, change in changes.items()}
    times = best(ways, arguments.repeats)
    unit = times["forward pass"]
    print(f"SGE-ResNet50, {arguments.size} px, batch 1, {torch.get_num_threads()} threads")
    for name, seconds in times.items():
        limit = f"  (at most {LIMITS[name]:g})" if name in LIMITS else ""
        print(f"{name:32} {1e3 * seconds:8.1f} ms  {seconds / unit:6.2f} forward passes{limit}")


if __name__ == "__main__":
    main()
