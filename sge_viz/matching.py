"""Which group of one network sees what a group of another sees: correlation of their maps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from sge_viz.maps import GroupMaps


@dataclass(frozen=True, eq=False)
class Matches:
    """How alike two layers' groups are over some pictures.

    Attributes:
        correlation: Pearson's correlation of every group of the first layer with every group of the
            second, shape (G1, G2), float64, in [-1, 1]; 0 for a map that never varies.
        pictures: Over how many pictures.
    """

    correlation: Tensor
    pictures: int

    def best(self) -> tuple[tuple[int, float], ...]:
        """Give every group of the first layer its best match, (group, correlation)."""
        values, groups = self.correlation.max(1)
        return tuple(zip(groups.tolist(), values.tolist(), strict=True))


def match_groups(pairs: Iterable[tuple[GroupMaps, GroupMaps]]) -> Matches:
    """Correlate two layers' norm maps before SGE, over all cells of all pictures.

    The norm before SGE is what both a network with SGE and one without it have. A picture adds its
    cells to the sums and is then forgotten.

    Args:
        pairs: The two layers' maps of each picture, batch size 1, of one height and width.

    Raises:
        ValueError: No picture, or two maps of different sizes.
    """
    sums: list[Tensor] | None = None
    cells = pictures = 0
    for first, second in pairs:
        a, b = (maps.before[0].flatten(1).double() for maps in (first, second))
        if first.before.shape[-2:] != second.before.shape[-2:]:
            raise ValueError(
                f"The maps of {first.layer} and {second.layer} have different sizes, "
                f"{tuple(first.before.shape[-2:])} and {tuple(second.before.shape[-2:])}: "
                "groups are matched cell by cell."
            )
        parts = [a.sum(1), b.sum(1), (a * a).sum(1), (b * b).sum(1), a @ b.T]
        sums = parts if sums is None else [x + y for x, y in zip(sums, parts, strict=True)]
        cells, pictures = cells + a.shape[1], pictures + 1
    if sums is None:
        raise ValueError("Groups are matched over pictures; give at least one.")
    a, b, aa, bb, ab = (part / cells for part in sums)
    covariance = ab - a[:, None] * b
    spread = ((aa - a * a).clamp(min=0)[:, None] * (bb - b * b).clamp(min=0)).sqrt()
    tiny = 1e-12 * (aa[:, None] * bb).sqrt()
    correlation = torch.where(spread > tiny, covariance / spread.clamp(min=1e-300), 0.0)
    return Matches(correlation.clamp(-1, 1), pictures)
