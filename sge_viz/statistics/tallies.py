"""All that one pass counts: statistics and strongest pictures of each layer, and accuracy."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from torch import Tensor

from sge_viz.capture import Reading
from sge_viz.statistics.accuracy import Accuracy
from sge_viz.statistics.bootstrap import draws
from sge_viz.statistics.layer import LayerStatistics, Observation, Pictures
from sge_viz.statistics.moments import Arrays, Counts
from sge_viz.statistics.plan import Plan
from sge_viz.statistics.settings import Settings
from sge_viz.statistics.strongest import Strongest

_WITHOUT = Settings(controls=False)

Count = Callable[["Tallies"], None]


class Tallies:
    """Everything that a plan asks for, over some pictures; merges with that over others.

    Attributes:
        statistics: By layer; none unless the plan asks for them.
        strongest: By layer; none unless the plan asks for them.
        accuracy: Hits; None unless the plan asks for them.
        map_sizes: (H, W) of each layer's maps, by layer.
    """

    def __init__(
        self, plan: Plan, groups: Mapping[str, int], classes: int, targets: Counts | None = None
    ) -> None:
        self._plan = plan
        settings, k = plan.statistics, plan.strongest
        self.map_sizes: dict[str, tuple[int, int]] = {}
        self.statistics: dict[str, LayerStatistics] = {}
        self.strongest: dict[str, Strongest] = {}
        if settings:
            self.statistics = {
                p: LayerStatistics(settings, groups[p], classes) for p in plan.layers
            }
        if k:
            self.strongest = {path: Strongest(k, groups[path], classes) for path in plan.layers}
        self.accuracy = Accuracy(targets) if targets is not None else None
        self._drawn: tuple[Pictures, np.ndarray] | None = None

    def add(self, layer: str, seen: Observation, pictures: Pictures) -> None:
        """Count one layer of one batch."""
        settings = self._plan.statistics
        height, width = seen.sge.norms.shape[-2:]
        self.map_sizes[layer] = (height, width)
        if settings:
            drawn = self._draws(pictures, settings)
            self.statistics[layer].add(seen, pictures, drawn)
        if layer in self.strongest:
            self.strongest[layer].add(seen.sge, pictures)

    def _draws(self, pictures: Pictures, settings: Settings) -> np.ndarray:
        """Draw once a batch, not once a layer."""
        if self._drawn is None or self._drawn[0] is not pictures:
            self._drawn = (pictures, draws(pictures.places, settings.replicates, settings.seed))
        return self._drawn[1]

    def outputs(self, logits: Tensor, pictures: Pictures) -> None:
        """Count the network's outputs of one batch."""
        if self.accuracy:
            self.accuracy.add(logits, pictures)

    def absorb(self, other: Tallies) -> None:
        """Take in what was counted over other pictures."""
        for path, statistics in other.statistics.items():
            self.statistics[path].absorb(statistics)
        for path, strongest in other.strongest.items():
            self.strongest[path].absorb(strongest)
        if self.accuracy and other.accuracy:
            self.accuracy.absorb(other.accuracy)
        self.map_sizes |= other.map_sizes

    def arrays(self) -> Arrays:
        """Return everything as arrays by name."""
        arrays: Arrays = {}
        for kind, parts in (("statistics", self.statistics), ("strongest", self.strongest)):
            for path, part in parts.items():
                arrays |= {f"{kind}/{path}/{name}": a for name, a in part.arrays().items()}
        if self.accuracy:
            arrays |= {f"accuracy/{name}": a for name, a in self.accuracy.arrays().items()}
        for path, size in self.map_sizes.items():
            arrays[f"map_size/{path}"] = np.array(size, np.int64)
        return arrays

    def read(self, arrays: Arrays) -> None:
        """Replace everything by what `arrays` gave."""
        settings = self._plan.statistics
        for path in self.statistics:
            assert settings is not None
            part = _below(arrays, f"statistics/{path}/")
            self.statistics[path] = LayerStatistics.from_arrays(part, settings)
        for path in self.strongest:
            self.strongest[path] = Strongest.from_arrays(_below(arrays, f"strongest/{path}/"))
        if self.accuracy:
            self.accuracy = Accuracy.from_arrays(_below(arrays, "accuracy/"))
        for path, size in _below(arrays, "map_size/").items():
            height, width = size.tolist()
            self.map_sizes[path] = (height, width)


def _below(arrays: Arrays, prefix: str) -> Arrays:
    return {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}


def observe(reading: Reading, pictures: Pictures, plan: Plan) -> Count:
    """Reduce a reading on the model's device at once, and return what is left: to count it."""
    settings, layer = plan.statistics, reading.layer
    observation = Observation.of(reading, pictures, settings or _WITHOUT)

    def count(tallies: Tallies) -> None:
        seen = observation.on_cpu(pictures, settings or _WITHOUT, layer)
        tallies.add(layer, seen, pictures)

    return count
