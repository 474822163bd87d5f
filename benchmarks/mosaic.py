"""All groups of a layer as one PNG: Matplotlib axes against our mosaic, in one run.

    python -m benchmarks.mosaic [--groups 64] [--cells 14] [--repeats 7]

Both draw before, gate and after of every group and encode a PNG. Times are the best of the
repeats; the two ways take turns.
"""

import argparse
import io
import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from sge_viz.render import SCALES, mosaic, png_bytes

Maps = npt.NDArray[np.float32]


def example_maps(groups: int, cells: int, seed: int = 0) -> tuple[Maps, Maps, Maps]:
    """Return norms before SGE, gates and norms after SGE, each (groups, cells, cells)."""
    draw = np.random.default_rng(seed)
    before = draw.gamma(3.0, 1.0, (groups, cells, cells)).astype(np.float32)
    gate = draw.uniform(0.5, 0.95, before.shape).astype(np.float32)
    return before, gate, gate * before


def with_axes(maps: tuple[Maps, ...]) -> bytes:
    """Draw every map on Matplotlib axes of its own, a group a row of three."""
    groups = len(maps[0])
    columns = 8 * len(maps)
    figure = Figure(figsize=(18, 9))
    for group in range(groups):
        for number, kind in enumerate(maps):
            place = group * len(maps) + number + 1
            axes = figure.add_subplot(-(-groups * len(maps) // columns), columns, place)
            axes.imshow(kind[group], cmap="viridis", interpolation="nearest")
            axes.set_axis_off()
            axes.set_title(str(group), fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def best(ways: dict[str, Callable[[], bytes]], repeats: int) -> dict[str, float]:
    """Return the shortest time of each way in seconds; the ways take turns."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            times[name].append(time.perf_counter() - start)
    return {name: min(values) for name, values in times.items()}


def main() -> None:
    """Print the times and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--groups", type=int, default=64)
    parser.add_argument("--cells", type=int, default=14)
    parser.add_argument("--repeats", type=int, default=7)
    chosen = parser.parse_args()
    maps = example_maps(chosen.groups, chosen.cells)

    def ours(scale: str) -> Callable[[], bytes]:
        return lambda: png_bytes(mosaic(*maps, scale=scale, title="layer3.5: stage 4 (conv4_x)"))

    ways = {f"mosaic, {scale} scale": ours(scale) for scale in SCALES}
    slow = f"{3 * chosen.groups} Matplotlib axes"
    times = best({slow: lambda: with_axes(maps), **ways}, chosen.repeats)
    for name, seconds in times.items():
        print(f"{name:24} {seconds * 1000:8.1f} ms {times[slow] / seconds:7.1f} times as fast")


if __name__ == "__main__":
    main()
