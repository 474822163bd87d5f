"""What a run over a data set measures: everything that its numbers depend on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from sge_viz.statistics.grid import NormGrid

CONTROLS = ("shuffled", "averaged", "regrouped")
"""The gate shuffled over positions, the gate replaced by its mean, random channel groupings."""


@dataclass(frozen=True)
class Settings:
    """How a layer's statistics are taken.

    Attributes:
        grid: Bins of the joint histogram of norms before and after.
        class_grid: Coarser bins of the same, for each class.
        near_zero: Part of a map's mean norm up to which a norm counts as near zero.
        controls: Whether the three controls of the claim audit are taken too.
        replicates: Bootstrap replicates over pictures.
        seed: Of the bootstrap and of the controls' random orders.
    """

    grid: NormGrid = field(default_factory=NormGrid)
    class_grid: NormGrid = field(default_factory=lambda: NormGrid(per_octave=2))
    near_zero: float = 0.5
    controls: bool = True
    replicates: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what means nothing.

        Raises:
            ValueError: near_zero is not between 0 and 1, or there are too few replicates.
        """
        if not 0 < self.near_zero < 1:
            raise ValueError(f"near_zero is {self.near_zero}: choose a part between 0 and 1.")
        if self.replicates < 100:
            raise ValueError(f"{self.replicates} bootstrap replicates: take at least 100.")
        if self.seed < 0:
            raise ValueError(f"The seed is {self.seed}: choose 0 or more.")

    @property
    def conditions(self) -> tuple[str, ...]:
        """SGE itself, and the controls if they are taken."""
        return ("sge", *CONTROLS) if self.controls else ("sge",)

    def record(self) -> dict[str, Any]:
        """Return the settings as plain values."""
        return asdict(self)

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Settings:
        """Read what `record` gave."""
        grids = {name: NormGrid(**record[name]) for name in ("grid", "class_grid")}
        return cls(**{**record, **grids})
