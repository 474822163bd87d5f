"""A map laid over the picture, cell by cell exactly where the network saw it."""

import math

import numpy as np
import numpy.typing as npt
from PIL import Image

from sge_viz.render.colour import COLOUR_MAPS, Bytes, colour_table, finite, levels, to_index

Box = tuple[float, float, float, float]

_SMOOTHINGS = {
    True: Image.Resampling.BILINEAR,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


def overlay(
    image: Image.Image | npt.ArrayLike,
    values: npt.ArrayLike,
    box: Box,
    limits: tuple[float, float],
    colour_map: str = COLOUR_MAPS[0],
    *,
    opacity: float = 0.6,
    smooth: bool | str = False,
    dim: float = 0.35,
) -> Image.Image:
    """Lay one map over the part of the picture that the network saw.

    The edge between columns k-1 and k of the map lies at ``left + k * (right - left) / W`` in the
    picture, rounded to the nearest pixel edge (a half goes up); rows likewise. So cells tile the
    box without gaps and no edge is displaced by more than half a pixel. (A box thinner than a pixel
    fills the pixel that its middle lies in.)

    Args:
        image: the picture, a PIL image or (h, w, 3) uint8.
        values: (H, W) map, finite.
        box: left, top, right, bottom of what the network saw, in pixels of `image` (floats). What
            lies outside the picture is cut off.
        limits: the values of the first and the last colour.
        colour_map: one of `COLOUR_MAPS`.
        opacity: 0 (only the picture) to 1 (only the map).
        smooth: False for cells; True or "bilinear", or "bicubic", to interpolate the map's values
            before they are coloured (bicubic can overshoot; that is clipped to the limits).
        dim: how much darker the part is that the network did not see, 0 (not at all) to 1 (black).

    Returns:
        An RGB picture of the size of `image`, without metadata.

    Raises:
        ValueError: a map that is not (H, W) or not finite, a box without area or beside the
            picture, an opacity or dim outside 0..1, an unknown smoothing or colour map.
    """
    for name, share in (("opacity", opacity), ("dim", dim)):
        if not 0 <= share <= 1:
            raise ValueError(f"{name} is {share}; it must lie between 0 and 1.")
    picture = as_image(image)
    x_edges, y_edges = _edges(box, np.shape(values))
    x0, x1 = (int(np.clip(x, 0, picture.width)) for x in (x_edges[0], x_edges[-1]))
    y0, y1 = (int(np.clip(y, 0, picture.height)) for y in (y_edges[0], y_edges[-1]))
    if x0 >= x1 or y0 >= y1:
        raise ValueError(
            f"The box {tuple(box)} holds no pixel of the {picture.width}x{picture.height} picture."
        )
    index = map_index(values, limits, box, (x0, y0, x1, y1), smooth)
    layer = Image.fromarray(colour_table(colour_map)[index])
    seen = Image.blend(picture.crop((x0, y0, x1, y1)), layer, opacity)
    result = Image.blend(picture, Image.new("RGB", picture.size), dim)
    result.paste(seen, (x0, y0))
    result.info = {}
    return result


def map_image(
    values: npt.ArrayLike,
    limits: tuple[float, float],
    size: tuple[int, int],
    colour_map: str = COLOUR_MAPS[0],
    smooth: bool | str = False,
) -> Image.Image:
    """Return one (H, W) map as an RGB picture of `size` (width, height) pixels."""
    box = (0, 0, *size)
    return Image.fromarray(colour_table(colour_map)[map_index(values, limits, box, box, smooth)])


def map_index(
    values: npt.ArrayLike,
    limits: tuple[float, float],
    box: Box,
    region: tuple[int, int, int, int],
    smooth: bool | str = False,
) -> Bytes:
    """Return the colour index of every pixel of a region of the picture.

    Args:
        values: (H, W) map, finite.
        limits: the values of the first and the last colour.
        box: where the map lies in the picture, left, top, right, bottom.
        region: the wanted pixels, left, top, right, bottom; inside the rounded box.
        smooth: as in `overlay`.

    Returns:
        (bottom - top, right - left) uint8, places in the colour table.
    """
    x_edges, y_edges = _edges(box, np.shape(values))
    level = levels(finite(values, "map"), *limits)
    x0, y0, x1, y1 = region
    if smooth:
        return _smooth_index(level, box, region, smooth)
    columns = np.searchsorted(x_edges, np.arange(x0, x1), side="right") - 1
    rows = np.searchsorted(y_edges, np.arange(y0, y1), side="right") - 1
    return to_index(level)[np.ix_(rows, columns)]


def as_image(image: Image.Image | npt.ArrayLike) -> Image.Image:
    """Return an RGB picture of a PIL image or an (h, w, 3) uint8 array."""
    if isinstance(image, Image.Image):
        return image.convert("RGB")
    array = np.asarray(image)
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8 or array.size == 0:
        raise ValueError(
            f"The picture has shape {array.shape} and type {array.dtype}; expected (height, width, "
            "3) uint8 or a PIL image."
        )
    return Image.fromarray(array)


def _edges(box: Box, shape: tuple[int, ...]) -> tuple[npt.NDArray[np.int64], ...]:
    """Return the pixel edges of the map's columns and rows, (W + 1,) and (H + 1,)."""
    left, top, right, bottom = (float(side) for side in box)
    if len(shape) != 2 or 0 in shape:
        raise ValueError(f"The map has shape {shape}; expected (height, width) of one group.")
    if not (np.isfinite((left, top, right, bottom)).all() and left < right and top < bottom):
        raise ValueError(f"The box {tuple(box)} has no area; give left, top, right, bottom.")
    height, width = shape
    return _axis_edges(left, right, width), _axis_edges(top, bottom, height)


def _axis_edges(start: float, stop: float, cells: int) -> npt.NDArray[np.int64]:
    if math.floor(start + 0.5) == math.floor(stop + 0.5):
        # a box thinner than a pixel (of a 1x20 picture, say) still shows in the pixel of its middle
        start = math.floor((start + stop) / 2)
        stop = start + 1
    edges = start + np.arange(cells + 1) * (stop - start) / cells
    return np.floor(edges + 0.5).astype(np.int64)


def _smooth_index(
    level: npt.NDArray[np.float64], box: Box, region: tuple[int, int, int, int], smooth: bool | str
) -> Bytes:
    if smooth not in _SMOOTHINGS:
        raise ValueError(f"Unknown smoothing {smooth!r}; choose 'bilinear' or 'bicubic'.")
    height, width = level.shape
    left, top, right, bottom = box
    x0, y0, x1, y1 = region
    # the region in units of cells; the rounded box may stand out by half a pixel
    cells = np.array(
        [
            np.clip((np.array([x0, x1]) - left) / (right - left), 0, 1) * width,
            np.clip((np.array([y0, y1]) - top) / (bottom - top), 0, 1) * height,
        ]
    )
    field = Image.fromarray(level.astype(np.float32))
    part = (cells[0, 0], cells[1, 0], cells[0, 1], cells[1, 1])
    resized = field.resize((x1 - x0, y1 - y0), _SMOOTHINGS[smooth], box=part)
    return to_index(np.asarray(resized))
