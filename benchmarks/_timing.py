"""Times of several ways of doing a thing, taken in turns."""

import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor, nn


def medians(ways: dict[str, Callable[[], Tensor]], seconds: float) -> dict[str, float]:
    """Return the median time of each way in seconds.

    The ways take turns, each round beginning with the next one, so that what else the machine does
    meets all of them alike. Runs in inference mode.

    Args:
        ways: What to call, by name.
        seconds: How long to measure, after two rounds of warming up; at least five rounds.
    """
    names = list(ways)
    times: dict[str, list[float]] = {name: [] for name in names}
    with torch.inference_mode():
        for way in [*ways.values(), *ways.values()]:
            way()
        end = time.perf_counter() + seconds
        while time.perf_counter() < end or len(times[names[0]]) < 5:
            for name in names:
                start = time.perf_counter()
                ways[name]()
                times[name].append(time.perf_counter() - start)
            names = [*names[1:], names[0]]
    return {name: median(times[name]) for name in ways}


def run(model: nn.Module, x: Tensor) -> Callable[[], Tensor]:
    """Bind a model to its input."""
    return lambda: model(x)
