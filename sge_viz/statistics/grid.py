"""The fixed grids of the histograms, and counting in them."""

from __future__ import annotations

from dataclasses import dataclass

import boost_histogram as bh
import numpy as np
import numpy.typing as npt

from sge_viz.statistics.moments import Counts, Floats

Bins = npt.NDArray[np.int32]
_EXPONENT_BIAS = 127
_MANTISSA_BITS = 23
GATE_BINS = 128


@dataclass(frozen=True)
class NormGrid:
    """Bins for norms: every octave from 2**lowest to 2**highest is cut into equal bins.

    Norms of different layers and networks differ by orders of magnitude, and one grid must serve
    all of them. The edges are short binary numbers, so no rounding moves a norm across an edge.

    Attributes:
        lowest: Exponent of the first edge; norms below it, zeros among them, are underflow.
        highest: Exponent of the last edge; norms from there on, and NaN, are overflow.
        per_octave: Bins an octave, a power of two.
    """

    lowest: int = -7
    highest: int = 7
    per_octave: int = 16

    def __post_init__(self) -> None:
        """Refuse a grid that cannot be.

        Raises:
            ValueError: The exponents are not in order, or a grid finer than float32.
        """
        if not -100 <= self.lowest < self.highest <= 100:
            raise ValueError(
                f"A grid from 2**{self.lowest} to 2**{self.highest} has no bins: "
                "choose a lower and a higher exponent between -100 and 100."
            )
        if self.per_octave not in (1, 2, 4, 8, 16, 32):
            raise ValueError(f"{self.per_octave} bins an octave: choose 1, 2, 4, 8, 16 or 32.")

    @property
    def bins(self) -> int:
        """Number of bins without underflow and overflow."""
        return (self.highest - self.lowest) * self.per_octave

    @property
    def edges(self) -> Floats:
        """The bins + 1 edges; a bin holds its lower edge and not its upper one."""
        steps = 1 + np.arange(self.per_octave) / self.per_octave
        octaves = 2.0 ** np.arange(self.lowest, self.highest)
        return np.append(np.outer(octaves, steps), 2.0**self.highest)

    def bin_of(self, norms: npt.NDArray[np.float32]) -> Bins:
        """Return each norm's bin: 0 is underflow, 1 the first bin, bins + 1 overflow.

        A float32's exponent and first bits of its mantissa are the number of its bin.
        """
        shift = _MANTISSA_BITS - (self.per_octave.bit_length() - 1)
        first = (_EXPONENT_BIAS + self.lowest) * self.per_octave
        number = np.right_shift(np.ascontiguousarray(norms, np.float32).view(np.int32), shift)
        number -= np.int32(first - 1)
        return np.clip(number, 0, self.bins + 1, out=number)


class Counter:
    """Counts in numbered cells, of any shape; the counting is boost-histogram's."""

    def __init__(self, *shape: int) -> None:
        self.shape = shape
        cells = int(np.prod(shape))
        axis = bh.axis.Integer(0, cells, underflow=False, overflow=False)
        self._histogram = bh.Histogram(axis, storage=bh.storage.Int64())

    def fill(self, cells: Bins | Counts) -> None:
        """Count one for every cell number (row-major over the shape) in `cells`."""
        self._histogram.fill(cells.reshape(-1))

    @property
    def counts(self) -> Counts:
        """The counts, a view of shape `shape`."""
        view: Counts = self._histogram.view().reshape(self.shape)
        return view


def gate_edges() -> Floats:
    """Return the edges of the gate's bins: GATE_BINS equal ones over [0, 1)."""
    return np.linspace(0, 1, GATE_BINS + 1)


def gate_bin_of(gate: npt.NDArray[np.float32]) -> Bins:
    """Return each gate's bin: 0 is below 0, 1 the first bin, GATE_BINS + 1 from 1 on, and NaN."""
    scaled = np.nan_to_num(np.floor(gate * np.float32(GATE_BINS)) + 1, nan=GATE_BINS + 1)
    bins: Bins = np.clip(scaled, 0, GATE_BINS + 1).astype(np.int32)
    return bins
