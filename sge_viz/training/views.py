"""Random views of pictures, and the same views of maps that lie over them.

A view is a rectangle of the picture, mirrored or not. Resampling is one product with a matrix of
triangle filters in each direction (Pillow's antialiased bilinear), so a picture of 256 pixels and a
teacher's map of 7 cells are cut along exactly the same lines, on any device, for a whole batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

_SOFTEST = 2.5


@dataclass(frozen=True)
class Views:
    """One rectangle a picture, in fractions of the picture's height and width.

    Attributes:
        top: Upper edges, (B,) in [0, 1).
        left: Left edges, likewise.
        height: Heights, (B,) in (0, 1].
        width: Widths, likewise.
        mirrored: Whether the view is flipped left to right, (B,) bool.
    """

    top: Tensor
    left: Tensor
    height: Tensor
    width: Tensor
    mirrored: Tensor

    def part(self, rows: slice) -> Views:
        """Return the views of some rows of the batch."""
        edges = (self.top, self.left, self.height, self.width, self.mirrored)
        return Views(*(values[rows] for values in edges))

    def of(
        self, maps: Tensor, side: int | tuple[int, int], softness: Tensor | None = None
    ) -> Tensor:
        """Cut the views out of maps and resample them.

        Args:
            maps: What the views lie on, (B, C, H, W).
            side: Rows and columns of the result, or a pair of them.
            softness: How much wider than needed the filters are, (B,) at least 1: above 1 blurs.
        """
        rows, columns = (side, side) if isinstance(side, int) else side
        down = filters(self.top, self.height, maps.shape[2], rows, softness).to(maps.device)
        across = filters(self.left, self.width, maps.shape[3], columns, softness).to(maps.device)
        mirrored = self.mirrored.to(maps.device)[:, None, None]
        across = torch.where(mirrored, across.flip(1), across)
        return down[:, None] @ maps @ across.transpose(1, 2)[:, None]


def filters(
    start: Tensor, length: Tensor, source: int, target: int, softness: Tensor | None = None
) -> Tensor:
    """Return the weights (B, target, source) that resample [start, start + length] of a line.

    Args:
        start: Where each view begins, (B,), in fractions of the line.
        length: How long it is, likewise.
        source: Cells of the line.
        target: Cells to make of the view.
        softness: Factors on the filters' widths, (B,); None for 1.

    Returns:
        Rows of a triangle filter, as wide as antialiasing needs, that add up to 1.
    """
    step = (length * source / target)[:, None, None]
    centre = start[:, None, None] * source + (torch.arange(target)[None, :, None] + 0.5) * step
    place = torch.arange(source)[None, None, :] + 0.5
    # A view outside the line's own cells (half a cell at an edge) repeats the outermost one.
    centre = centre.clamp(0.5, source - 0.5)
    width = step if softness is None else step * softness[:, None, None]
    weights = (1 - (place - centre).abs() / width.clamp(min=1)).clamp(min=0)
    return weights / weights.sum(2, keepdim=True)


def random_views(
    count: int,
    generator: torch.Generator,
    area: tuple[float, float] = (0.35, 1.0),
    shape: tuple[float, float] = (3 / 4, 4 / 3),
    aspect: float = 1.0,
) -> Views:
    """Draw views as torchvision's RandomResizedCrop does, half of them mirrored.

    Args:
        count: How many.
        generator: Source of all randomness.
        area: Least and largest share of the picture.
        shape: Least and largest width over height in pixels; the logarithm is uniform. A view that
            would not fit takes as much of the picture's own shape as it needs to.
        aspect: Width over height of the picture itself.
    """

    def draw(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=generator)

    side = draw(*area).sqrt()
    root = (draw(math.log(shape[0]), math.log(shape[1])).exp() / aspect).sqrt()
    root = root.clamp(side, 1 / side)
    width, height = (side * root).clamp(max=1), (side / root).clamp(max=1)
    top, left = draw(0, 1) * (1 - height), draw(0, 1) * (1 - width)
    return Views(top, left, height, width, draw(0, 1) < 0.5)


def random_softness(count: int, generator: torch.Generator, share: float) -> Tensor:
    """Draw how soft views are, (B,): a share of them from 1 to 2.5, the logarithm uniform.

    Collections differ in sharpness; a network must not take that for what their pictures show.
    """
    soft = torch.rand(count, generator=generator) < share
    factors = _SOFTEST ** torch.rand(count, generator=generator)
    return torch.where(soft, factors, torch.ones(()))


def whole_views(count: int) -> Views:
    """Return the whole squares, not mirrored."""
    zero, one = torch.zeros(count), torch.ones(count)
    return Views(zero, zero, one, one, torch.zeros(count, dtype=torch.bool))
