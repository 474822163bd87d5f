"""Which groups see something of their own: a measure of how part-like a group's maps are."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def standing_out(maps: Iterable[npt.ArrayLike]) -> Floats:
    """Return how far each group stands out, at its best place, over what all groups fire at.

    Each group's norm map is divided by its own mean, so that 1 is a group's usual norm. From that
    the mean of all groups' maps is taken off: what is left at a place is a group's own share of the
    attention there. The score is the largest of that over the map, averaged over the pictures. A
    group that fires everywhere, or only where all groups do, stays near 0; one that picks a single
    place of its own scores high.

    Args:
        maps: For each picture the norm maps of all groups, (G, H, W).

    Returns:
        The scores, (G,).

    Raises:
        ValueError: There is no picture.
    """
    scores = []
    for picture in maps:
        norms = np.asarray(picture, np.float64)
        usual = norms.mean((1, 2), keepdims=True)
        relative = np.divide(norms, usual, out=np.ones_like(norms), where=usual > 0)
        own = relative - relative.mean(0, keepdims=True)
        scores.append(own.max((1, 2)))
    if not scores:
        raise ValueError("There is no picture to judge the groups by.")
    mean: Floats = np.mean(scores, axis=0)
    return mean
