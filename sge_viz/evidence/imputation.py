"""Noisy linear imputation: fill removed pixels from their neighbours, so that nothing is told.

Rong et al., "A Consistent and Efficient Evaluation Strategy for Attribution Methods" (ROAD), ICML
2022, arXiv 2202.00449. A removed pixel becomes the weighted mean of its eight neighbours, 1/6 for
each direct and 1/12 for each diagonal one, where removed neighbours are unknowns of the same linear
system; at the picture's edge the weights are taken over the neighbours that exist. A little noise
hides that a pixel was filled in.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse  # type: ignore[import-untyped]
from scipy.sparse import linalg  # type: ignore[import-untyped]
from torch import Tensor

NEIGHBOURS = {
    (dy, dx): 1 / 6 if dy == 0 or dx == 0 else 1 / 12
    for dy in (-1, 0, 1)
    for dx in (-1, 0, 1)
    if (dy, dx) != (0, 0)
}
"""Weights of the neighbours by (row, column) offset."""

_KNOWN, _OUTSIDE = -1, -2


def impute(picture: Tensor, removed: Tensor, *, noise: float = 0.01, seed: int = 0) -> Tensor:
    """Fill the removed pixels of a picture.

    Args:
        picture: Shape (C, H, W).
        removed: Which pixels, shape (H, W), bool.
        noise: Standard deviation of the noise added to them, in the picture's units.
        seed: Of the noise.

    Returns:
        The filled picture, shape (C, H, W); what was not removed is as it was. A picture of which
        everything was removed becomes 0 (the mean colour of a normalised picture) and noise.
    """
    gone = removed.cpu().numpy()
    values = picture.detach().cpu().double().numpy()
    filled = np.zeros((int(gone.sum()), len(values)))
    if 0 < len(filled) < gone.size:
        matrix, right = _system(values, gone)
        # The matrix has a symmetric pattern, for which this ordering is the fast one.
        solver = linalg.splu(matrix, permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True})
        filled = solver.solve(right)
    drawn = np.random.default_rng(seed).normal(0, noise, filled.shape) if noise else 0.0
    result = values.copy()
    result[:, gone] = (filled + drawn).T
    return torch.from_numpy(result).to(picture.device, picture.dtype)


def _system(
    values: NDArray[np.float64], gone: NDArray[np.bool_]
) -> tuple[sparse.csc_matrix, NDArray[np.float64]]:
    """Return the linear system of the removed pixels: the matrix (N, N) and right side (N, C)."""
    height, width = gone.shape
    count = int(gone.sum())
    number = np.full(gone.shape, _KNOWN)
    number[gone] = np.arange(count)
    padded = np.pad(number, 1, constant_values=_OUTSIDE)
    colours = np.pad(values, ((0, 0), (1, 1), (1, 1)))
    diagonal, right = np.zeros(count), np.zeros((count, len(values)))
    rows, columns, weights = [], [], []
    for (dy, dx), weight in NEIGHBOURS.items():
        window = slice(1 + dy, 1 + dy + height), slice(1 + dx, 1 + dx + width)
        neighbour = padded[window][gone]
        diagonal += weight * (neighbour != _OUTSIDE)
        known, unknown = neighbour == _KNOWN, neighbour >= 0
        right[known] += weight * colours[:, *window][:, gone].T[known]
        rows.append(np.flatnonzero(unknown))
        columns.append(neighbour[unknown])
        weights.append(np.full(len(columns[-1]), -weight))
    entries = np.concatenate([*weights, diagonal])
    places = np.concatenate([*rows, np.arange(count)]), np.concatenate([*columns, np.arange(count)])
    return sparse.csc_matrix((entries, places), shape=(count, count)), right
