"""The pictures that excite each group most, kept while pictures stream by."""

from __future__ import annotations

import numpy as np
import torch

from sge_viz.maps import concentration
from sge_viz.statistics.layer import Pictures
from sge_viz.statistics.moments import Arrays, Counts, Floats, Moments
from sge_viz.statistics.signals import Signals

RANKINGS = {
    "before": "largest norm of the group before SGE over the picture's positions",
    "after": "largest norm of the group after SGE over the picture's positions",
    "lift": "gate lift: (largest / mean norm after SGE) / (largest / mean norm before), so 1 where "
    "the gate lets the peak stand out as much as before (1 for an all-zero map)",
    "concentration": "share of the total norm after SGE that the strongest ceil(P/10) of the P "
    "positions hold",
}
NOBODY = np.iinfo(np.int64).max
"""Stands where a group has fewer than k pictures; sorts last."""


def scores(signals: Signals) -> tuple[Floats, Counts]:
    """Score every picture for every group.

    Args:
        signals: One layer of a batch, on the CPU.

    Returns:
        Scores, and the peak's cell in row-major order (of the map before SGE for "before", of the
        one after SGE otherwise; the first of equal ones), both (rankings, G, B).
    """
    norms = (signals.norms.flatten(2), signals.after.flatten(2))
    cells = [np.argmax(n.numpy(), axis=-1) for n in norms]
    peaks, stand = [], []
    for n in norms:
        peak, mean = n.amax(-1).double(), n.mean(-1, dtype=torch.float64)
        peaks.append(peak)
        stand.append(torch.where(mean > 0, peak / mean, 1.0))
    lift = stand[1] / stand[0]
    packed = concentration(signals.after.double())
    table = torch.stack([*peaks, lift, packed]).transpose(1, 2).numpy()
    return table, np.stack([cells[0], *[cells[1]] * 3]).swapaxes(1, 2)


class Strongest:
    """The k strongest pictures of every group of one layer under every ranking.

    Equal scores are in the order of the picture list, so the result does not depend on how the
    pictures were dealt to batches, shards or processes.

    Attributes:
        score: (rankings, G, k) float64, best first; -inf where there are fewer pictures.
        place: Places in the picture list; NOBODY where there are fewer.
        cell: The peak's cell in row-major order; 0 where there are fewer.
        by_class: Moments of the scores over each class's pictures, (K, rankings, G).
    """

    def __init__(self, k: int, groups: int, classes: int = 1) -> None:
        shape = (len(RANKINGS), groups, k)
        self.score: Floats = np.full(shape, -np.inf)
        self.place: Counts = np.full(shape, NOBODY)
        self.cell: Counts = np.zeros(shape, np.int64)
        self.by_class = Moments.empty(classes, len(RANKINGS), groups)

    def add(self, signals: Signals, pictures: Pictures) -> None:
        """Count one batch."""
        table, cells = scores(signals)
        self._keep(table, np.broadcast_to(pictures.places, table.shape), cells)
        for label in np.unique(pictures.labels):
            of_class = table[..., pictures.labels == label]
            self.by_class.include(int(label), Moments.of(of_class, -1))

    def absorb(self, other: Strongest) -> None:
        """Take in what was kept of other pictures."""
        self._keep(other.score, other.place, other.cell)
        self.by_class = self.by_class.combine(other.by_class)

    def _keep(self, score: Floats, place: Counts, cell: Counts) -> None:
        k = self.score.shape[-1]
        score = np.concatenate([self.score, score], -1)
        place = np.concatenate([self.place, place], -1)
        cell = np.concatenate([self.cell, cell], -1)
        best = np.lexsort((place, -score))[..., :k]
        self.score = np.take_along_axis(score, best, -1)
        self.place = np.take_along_axis(place, best, -1)
        self.cell = np.take_along_axis(cell, best, -1)

    def arrays(self) -> Arrays:
        """Return everything as arrays by name."""
        own: Arrays = {"score": self.score, "place": self.place, "cell": self.cell}
        return own | self.by_class.arrays("by_class")

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Strongest:
        """Read what `arrays` gave."""
        by_class = Moments.from_arrays(arrays, "by_class")
        _, groups, k = arrays["score"].shape
        strongest = cls(k, groups, len(by_class.count))
        strongest.score = arrays["score"].astype(np.float64)
        strongest.place = arrays["place"].astype(np.int64)
        strongest.cell = arrays["cell"].astype(np.int64)
        strongest.by_class = by_class
        return strongest
