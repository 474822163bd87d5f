"""Count, mean, variance and extrema that merge without loss: Chan, Golub and LeVeque, 1979."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
Arrays = dict[str, npt.NDArray[np.generic]]


@dataclass(eq=False)
class Moments:
    """Moments of many quantities at once, each array of the same shape, float64.

    Attributes:
        count: How many values, int64; 0 where there were none.
        mean: Their mean; 0 where there were none.
        m2: Sum of squared deviations from the mean.
        low: The smallest value; +inf where there were none.
        high: The largest value; -inf where there were none.
    """

    count: Counts
    mean: Floats
    m2: Floats
    low: Floats
    high: Floats

    @classmethod
    def empty(cls, *shape: int) -> Moments:
        """Make the moments of no values at all."""
        return cls(
            np.zeros(shape, np.int64),
            np.zeros(shape),
            np.zeros(shape),
            np.full(shape, np.inf),
            np.full(shape, -np.inf),
        )

    @classmethod
    def of(cls, values: npt.ArrayLike, axis: int = -1) -> Moments:
        """Take the moments along one axis in two passes, in float64."""
        array = np.asarray(values, np.float64)
        if array.shape[axis] == 0:
            return cls.empty(*np.delete(array.shape, axis))
        mean = array.mean(axis)
        m2 = np.square(array - np.expand_dims(mean, axis)).sum(axis)
        count = np.full(mean.shape, array.shape[axis], np.int64)
        return cls(count, mean, m2, array.min(axis), array.max(axis))

    def __getitem__(self, key: int | slice | npt.NDArray[np.generic]) -> Moments:
        """Return the moments of some of the quantities, along the first axis."""
        return Moments(*(getattr(self, name)[key] for name in FIELDS))

    def combine(self, other: Moments) -> Moments:
        """Return the moments of both sets of values together; exact in counts and extrema."""
        count = self.count + other.count
        share = np.divide(other.count, count, out=np.zeros(count.shape), where=count > 0)
        delta = other.mean - self.mean
        # The form below gives back the other side exactly where one side is empty.
        mean = np.where(self.count == 0, other.mean, self.mean + delta * share)
        m2 = self.m2 + other.m2 + np.square(delta) * self.count * share
        return Moments(
            count, mean, m2, np.minimum(self.low, other.low), np.maximum(self.high, other.high)
        )

    def fold(self) -> Moments:
        """Combine all entries of the first axis at once, by the same formula for many sets."""
        count = self.count.sum(0)
        weighted = (self.count * self.mean).sum(0)
        mean = np.divide(weighted, count, out=np.zeros(count.shape), where=count > 0)
        m2 = self.m2.sum(0) + (self.count * np.square(self.mean - mean)).sum(0)
        low = self.low.min(0, initial=np.inf)
        return Moments(count, mean, m2, low, self.high.max(0, initial=-np.inf))

    def include(self, row: int, other: Moments) -> None:
        """Combine `other` into one entry of the first axis, in place."""
        combined = self[row].combine(other)
        for name in FIELDS:
            getattr(self, name)[row] = getattr(combined, name)

    @property
    def variance(self) -> Floats:
        """Population variance (divided by the count); NaN where there were no values."""
        nothing = np.full(self.mean.shape, np.nan)
        variance: Floats = np.divide(self.m2, self.count, out=nothing, where=self.count > 0)
        return variance

    @property
    def std(self) -> Floats:
        """Population standard deviation; NaN where there were no values."""
        return np.sqrt(self.variance)

    def arrays(self, name: str) -> Arrays:
        """Return the arrays under "name/count", "name/mean" and so on."""
        return {f"{name}/{field}": getattr(self, field) for field in FIELDS}

    @classmethod
    def from_arrays(cls, arrays: Arrays, name: str) -> Moments:
        """Read what `arrays` gave.

        Raises:
            KeyError: One of them is missing.
        """
        mean, m2, low, high = (arrays[f"{name}/{f}"].astype(np.float64) for f in FIELDS[1:])
        return cls(arrays[f"{name}/count"].astype(np.int64), mean, m2, low, high)


FIELDS = ("count", "mean", "m2", "low", "high")
