"""Do the channels of a group fire at the same places? Groups against random groupings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Agreement:
    """Mean correlation of channels within groups, and within random groups of the same channels.

    Attributes:
        groups: Mean over the groups of the mean correlation of their pairs of channels.
        random: The same for random groupings: mean over them.
        random_std: Standard deviation over the random groupings.
        random_largest: The largest of them.
        p: (1 + random groupings at least as high) / (1 + random groupings), one-sided.
    """

    groups: float
    random: float
    random_std: float
    random_largest: float
    p: float


class Correlations:
    """Correlations of all pairs of channels in where they fire, gathered batch by batch.

    What is correlated are absolute values over the positions of many pictures. Each channel's mean
    over a picture is taken off first, so that it is about places, and not about which pictures
    excite a channel at all.
    """

    def __init__(self) -> None:
        self._products: Tensor | None = None

    def add(self, x: Tensor) -> None:
        """Take in feature maps (B, C, H, W)."""
        maps = x.detach().float().abs().flatten(2)
        centred = (maps - maps.mean(2, keepdim=True)).transpose(0, 1).flatten(1)
        products = (centred @ centred.T).double().cpu()
        self._products = products if self._products is None else self._products + products

    def matrix(self) -> Matrix:
        """Return the correlations, (C, C) in [-1, 1]; 0 for a channel that never varies.

        Raises:
            ValueError: Nothing was taken in.
        """
        if self._products is None:
            raise ValueError("There are no maps to correlate.")
        products = self._products.numpy()
        spread = np.sqrt(np.diag(products))
        scale = np.divide(1, spread, out=np.zeros_like(spread), where=spread > 0)
        correlations: Matrix = products * scale[:, None] * scale[None, :]
        return correlations


def agreement(correlations: Matrix, groups: int, trials: int = 1000, seed: int = 0) -> Agreement:
    """Compare groups of neighbouring channels with random groupings.

    Args:
        correlations: Of all pairs of channels, (C, C).
        groups: Groups, which divide C.
        trials: Random groupings.
        seed: Of the random groupings.
    """
    random = np.random.default_rng(seed)
    channels = len(correlations)
    observed = _within(correlations, np.arange(channels), groups)
    drawn = np.array(
        [_within(correlations, random.permutation(channels), groups) for _ in range(trials)]
    )
    return Agreement(
        groups=observed,
        random=float(drawn.mean()),
        random_std=float(drawn.std(ddof=1)),
        random_largest=float(drawn.max()),
        p=float((1 + (drawn >= observed).sum()) / (1 + trials)),
    )


def _within(correlations: Matrix, order: npt.NDArray[np.int64], groups: int) -> float:
    """Return the mean correlation of two different channels of one group."""
    members = order.reshape(groups, -1)
    size = members.shape[1]
    sums = sum(correlations[np.ix_(group, group)].sum() for group in _each(members))
    own = correlations[order, order].sum()
    return float((sums - own) / (groups * size * (size - 1)))


def _each(members: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.int64]]:
    yield from members
