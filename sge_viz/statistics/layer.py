"""The statistics of one layer: everything is counted in one pass, and two passes merge."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sge_viz.capture import Reading
from sge_viz.statistics.bootstrap import Bootstrap, draws
from sge_viz.statistics.grid import GATE_BINS, Bins, Counter, gate_bin_of
from sge_viz.statistics.measures import NAMES, Measured, measure
from sge_viz.statistics.moments import Arrays, Counts, Floats, Moments
from sge_viz.statistics.settings import Settings
from sge_viz.statistics.signals import Orders, Signals, of_reading, regrouped

Norms = npt.NDArray[np.float32]
SIDES = ("before", "after")


@dataclass(frozen=True, eq=False)
class Pictures:
    """Which pictures of the list a batch holds.

    Attributes:
        places: Their places in the list, (B,).
        labels: Their classes, (B,); all 0 without classes.
    """

    places: Counts
    labels: Counts


@dataclass(frozen=True, eq=False)
class Observation:
    """One layer of one batch: what SGE did, and what the controls would have done."""

    sge: Signals
    controls: dict[str, Signals]

    @classmethod
    def of(cls, reading: Reading, pictures: Pictures, settings: Settings) -> Observation:
        """Reduce a reading on the model's device; the controls' orders follow from the seed.

        Raises:
            ValueError: The layer has no SGE, or its values are not finite.
        """
        signals = of_reading(reading)
        if not settings.controls:
            return cls(signals, {})
        orders = _orders(pictures, settings.seed, reading.layer, reading.x.shape[1])
        return cls(signals, {"regrouped": regrouped(reading, orders)})

    def on_cpu(self, pictures: Pictures, settings: Settings, layer: str) -> Observation:
        """Bring it to the CPU and add the controls that need no feature map."""
        sge = self.sge.cpu()
        if not settings.controls:
            return Observation(sge, {})
        cells = sge.norms[0, 0].numel()
        orders = _orders(pictures, settings.seed, f"{layer} gate", cells)
        return Observation(
            sge,
            {
                "shuffled": sge.shuffled(orders),
                "averaged": sge.averaged(),
                "regrouped": self.controls["regrouped"].cpu(),
            },
        )


def _orders(pictures: Pictures, seed: int, purpose: str, length: int) -> Orders:
    """Return a permutation for each picture, the same in whatever batch it comes."""
    stream = zlib.crc32(purpose.encode())
    rows = [
        np.random.default_rng([seed, stream, int(place)]).permutation(length)
        for place in pictures.places
    ]
    return np.stack(rows)


class LayerStatistics:
    """One layer's statistics for every group and class.

    Attributes:
        groups: Number of groups G.
        classes: Number of classes K; 1 without classes.
        norm_before: Moments of the norms over pictures and positions, (K, G).
        norm_after: The same after SGE.
        gate: Moments of the gate, (K, G).
        pictures: By side, moments over pictures of every measure, (K, len(NAMES), G).
        joint: Counts of (before, after), (G, bins + 2, bins + 2), underflow first, overflow last.
        class_joint: The same for each class on the coarser grid, (K, G, ...); None for one class.
        gates: Counts of the gate, (K, G, GATE_BINS + 2).
        bootstrap: Means over groups of every measure under every condition, over pictures.
    """

    def __init__(self, settings: Settings, groups: int, classes: int = 1) -> None:
        self.settings, self.groups, self.classes = settings, groups, classes
        fine, coarse = settings.grid.bins + 2, settings.class_grid.bins + 2
        self.norm_before = Moments.empty(classes, groups)
        self.norm_after = Moments.empty(classes, groups)
        self.gate = Moments.empty(classes, groups)
        self.pictures = {side: Moments.empty(classes, len(NAMES), groups) for side in SIDES}
        self.joint = Counter(groups, fine, fine)
        self.class_joint = Counter(classes, groups, coarse, coarse) if classes > 1 else None
        self.gates = Counter(classes, groups, GATE_BINS + 2)
        self.bootstrap = Bootstrap.empty(settings.replicates, len(columns(settings)))

    @staticmethod
    def size(settings: Settings, groups: int, classes: int) -> int:
        """Return the bytes that one layer's statistics take, however many pictures there are."""
        fine, coarse = settings.grid.bins + 2, settings.class_grid.bins + 2
        cells = groups * (fine**2 + classes * (GATE_BINS + 2 + 5 * (3 + 2 * len(NAMES))))
        cells += groups * classes * coarse**2 if classes > 1 else 0
        return 8 * (cells + (1 + settings.replicates) * (1 + len(columns(settings))))

    def add(
        self, observation: Observation, pictures: Pictures, drawn: Floats | None = None
    ) -> None:
        """Count one batch.

        Args:
            observation: The layer, on the CPU, with the controls that the settings ask for.
            pictures: Which pictures they are.
            drawn: What `bootstrap.draws` gives for them, where the caller has it already.

        Raises:
            ValueError: Norms or gates are not finite numbers.
        """
        if drawn is None:
            drawn = draws(pictures.places, self.settings.replicates, self.settings.seed)
        measured = measure(observation.sge, self.settings.near_zero)
        if not (np.isfinite(measured.before).all() and np.isfinite(measured.after).all()):
            raise ValueError(
                "The network gives values that are not finite: check its weights, or run it in "
                "float32."
            )
        self._add_measures(measured, observation.sge, pictures)
        self._add_counts(observation.sge, pictures)
        self.bootstrap.add(drawn, self._columns(measured, observation))

    def _add_measures(self, measured: Measured, signals: Signals, pictures: Pictures) -> None:
        gate = signals.gate.flatten(2)
        cells = gate.shape[-1]
        mean = gate.double().mean(-1)
        square = (gate - mean[..., None]).square_().sum(-1).numpy()
        norms = {"before": signals.norms.flatten(2), "after": signals.after.flatten(2)}
        parts = {"gate": (mean.numpy(), square, gate)}
        for side, values in (("before", measured.before), ("after", measured.after)):
            of = {name: values[:, index] for index, name in enumerate(NAMES)}
            parts[f"norm_{side}"] = (of["mean_norm"], of["norm_variance"] * cells, norms[side])
        for name, (means, m2, maps) in parts.items():
            count = np.full(means.shape, cells, np.int64)
            # Each alone is vectorised, which aminmax is not.
            low, high = (t.double().numpy() for t in (maps.amin(-1), maps.amax(-1)))
            one_by_one = Moments(count, means, m2, low, high)
            for label in np.unique(pictures.labels):
                rows = pictures.labels == label
                getattr(self, name).include(int(label), one_by_one[rows].fold())
        for label in np.unique(pictures.labels):
            rows = pictures.labels == label
            for side, values in (("before", measured.before), ("after", measured.after)):
                self.pictures[side].include(int(label), Moments.of(values[rows], 0))

    def _add_counts(self, signals: Signals, pictures: Pictures) -> None:
        before, after = signals.norms.flatten(2).numpy(), signals.after.flatten(2).numpy()
        group = np.arange(self.groups)[None, :, None]
        label = pictures.labels[:, None, None] * self.groups + group
        self._fill(self.joint, group, self.settings.grid.bin_of(before), after, "grid")
        if self.class_joint is not None:
            coarse = self.settings.class_grid.bin_of(before)
            self._fill(self.class_joint, label, coarse, after, "class_grid")
        bins = self.gates.shape[-1]
        gate = signals.gate.flatten(2).numpy()
        self.gates.fill(_narrow(label * bins, self.gates) + gate_bin_of(gate))

    def _fill(self, counter: Counter, row: Counts, bins: Bins, after: Norms, grid: str) -> None:
        width = counter.shape[-1]
        cells = _narrow(row * width * width, counter) + bins * width
        cells += getattr(self.settings, grid).bin_of(after)
        counter.fill(cells)

    def _columns(self, measured: Measured, observation: Observation) -> Floats:
        parts = [measured.before, measured.after]
        for condition in self.settings.conditions[1:]:
            control = measure(observation.controls[condition], self.settings.near_zero)
            parts += [control.before, control.after]
        means = [self._with_square(part).mean(2) for part in parts]
        return np.concatenate(means, 1)

    @staticmethod
    def _with_square(part: Floats) -> Floats:
        """Add the mean square norm, from which the pooled variance follows."""
        mean, variance = (part[:, NAMES.index(n), None] for n in ("mean_norm", "norm_variance"))
        return np.concatenate([part, variance + np.square(mean)], 1)

    def absorb(self, other: LayerStatistics) -> None:
        """Take in the statistics of other pictures: counts exactly, moments to rounding.

        Raises:
            ValueError: They were taken with other settings, groups or classes.
        """
        same = (self.settings, self.groups, self.classes)
        if same != (other.settings, other.groups, other.classes):
            raise ValueError(
                "These statistics cannot be merged: settings, groups or classes differ."
            )
        for name in _MERGED:
            setattr(self, name, getattr(self, name).combine(getattr(other, name)))
        self.pictures = {s: self.pictures[s].combine(other.pictures[s]) for s in SIDES}
        for mine, its in zip(self._counters(), other._counters(), strict=True):
            mine.counts[...] += its.counts

    def _counters(self) -> tuple[Counter, ...]:
        counters = (self.joint, self.gates, self.class_joint)
        return tuple(counter for counter in counters if counter is not None)

    def moments(self) -> dict[str, Moments]:
        """Return all moments by the name they have among the arrays."""
        own = {"norm_before": self.norm_before, "norm_after": self.norm_after, "gate": self.gate}
        return own | {f"pictures_{side}": self.pictures[side] for side in SIDES}

    def arrays(self) -> Arrays:
        """Return everything as arrays by name."""
        arrays: Arrays = {"joint": self.joint.counts, "gates": self.gates.counts}
        if self.class_joint is not None:
            arrays["class_joint"] = self.class_joint.counts
        arrays |= self.bootstrap.arrays("bootstrap")
        for name, moments in self.moments().items():
            arrays |= moments.arrays(name)
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Arrays, settings: Settings) -> LayerStatistics:
        """Read what `arrays` gave.

        Raises:
            KeyError: An array is missing.
            ValueError: An array's shape does not fit the settings.
        """
        classes, groups = arrays["norm_before/count"].shape
        statistics = cls(settings, groups, classes)
        for name, kind in _MERGED.items():
            setattr(statistics, name, kind.from_arrays(arrays, name))
        statistics.pictures = {s: Moments.from_arrays(arrays, f"pictures_{s}") for s in SIDES}
        statistics.joint.counts[...] = arrays["joint"]
        statistics.gates.counts[...] = arrays["gates"]
        if statistics.class_joint is not None:
            statistics.class_joint.counts[...] = arrays["class_joint"]
        return statistics


_MERGED: dict[str, type[Moments] | type[Bootstrap]] = {
    "norm_before": Moments,
    "norm_after": Moments,
    "gate": Moments,
    "bootstrap": Bootstrap,
}
POOLED = "mean_square_norm"


def columns(settings: Settings) -> tuple[tuple[str, str, str], ...]:
    """Name the bootstrap's quantities: (condition, side, measure)."""
    return tuple(
        (condition, side, name)
        for condition in settings.conditions
        for side in SIDES
        for name in (*NAMES, POOLED)
    )


def _narrow(cells: Counts, counter: Counter) -> Bins | Counts:
    """Use 32-bit cell numbers where they suffice: counting is faster."""
    return cells.astype(np.int32) if np.prod(counter.shape) < 2**31 else cells


def merge(one: LayerStatistics, other: LayerStatistics) -> LayerStatistics:
    """Return the statistics of both sets of pictures together, and leave both as they are.

    Raises:
        ValueError: They were taken with other settings, groups or classes.
    """
    both = LayerStatistics(one.settings, one.groups, one.classes)
    both.absorb(one)
    both.absorb(other)
    return both
