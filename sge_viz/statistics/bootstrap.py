"""A bootstrap over pictures in one pass: every replicate counts a picture Poisson(1) times.

Resampling n pictures with replacement draws each of them Binomial(n, 1/n) times; Poisson(1) is its
limit and needs no n, so that pictures stream by and runs merge (Chamandy and others, "Estimating
Uncertainty for Massive Data Streams", 2012). A picture's draws depend on the seed and its place in
the list alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sge_viz.statistics.moments import Arrays, Counts, Floats


def draws(pictures: Counts, replicates: int, seed: int) -> Floats:
    """Return how often each replicate counts each picture, (B, 1 + replicates).

    The first column is 1: the sample itself.

    Args:
        pictures: Places of the pictures in the list, (B,).
        replicates: Number of replicates.
        seed: Of the run.
    """
    rows = [
        np.random.default_rng([seed, int(place)]).poisson(1.0, replicates) for place in pictures
    ]
    table = np.ones((len(rows), 1 + replicates))
    if rows:
        table[:, 1:] = rows
    return table


@dataclass(eq=False)
class Bootstrap:
    """Weighted sums of many quantities in every replicate.

    Attributes:
        weight: Pictures counted in the sample (first) and in each replicate, (1 + R,).
        total: Sum of each quantity over them, (1 + R, quantities).
    """

    weight: Floats
    total: Floats

    @classmethod
    def empty(cls, replicates: int, quantities: int) -> Bootstrap:
        """Make one without pictures."""
        return cls(np.zeros(1 + replicates), np.zeros((1 + replicates, quantities)))

    def add(self, drawn: Floats, values: Floats) -> None:
        """Count a batch.

        Args:
            drawn: From `draws`, (B, 1 + R).
            values: The pictures' quantities, (B, quantities).
        """
        self.weight += drawn.sum(0)
        self.total += drawn.T @ values

    def combine(self, other: Bootstrap) -> Bootstrap:
        """Return both together."""
        return Bootstrap(self.weight + other.weight, self.total + other.total)

    def means(self) -> Floats:
        """Mean of each quantity over the pictures, (1 + R, quantities); NaN without pictures."""
        weight = self.weight[:, None]
        nothing = np.full(self.total.shape, np.nan)
        means: Floats = np.divide(self.total, weight, out=nothing, where=weight > 0)
        return means

    def arrays(self, name: str) -> Arrays:
        """Return the arrays under "name/weight" and "name/total"."""
        return {f"{name}/weight": self.weight, f"{name}/total": self.total}

    @classmethod
    def from_arrays(cls, arrays: Arrays, name: str) -> Bootstrap:
        """Read what `arrays` gave."""
        weight, total = (arrays[f"{name}/{field}"] for field in ("weight", "total"))
        return cls(weight.astype(np.float64), total.astype(np.float64))


def interval(values: Floats, confidence: float = 0.95) -> tuple[float, float]:
    """Return the percentile interval of a statistic's replicates (the sample itself left out)."""
    tail = 50 * (1 - confidence)
    low, high = np.nanpercentile(values[1:], [tail, 100 - tail])
    return float(low), float(high)
