"""Values to colours: the colour maps, the three scales, and the one formula between them.

The browser draws the same maps, so the two definitions it has to mirror are short:

* `limits` and `gate_limits` say which low and high a map is drawn with;
* `colourise` says which of the 256 colours a value gets:
  ``floor(256 * (value - low) / (high - low))``, clipped to 0..255, and 0 where low == high.
"""

from dataclasses import dataclass
from functools import lru_cache

import matplotlib
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]

COLOUR_MAPS = ("viridis", "magma", "inferno", "plasma", "cividis", "gray")
"""Perceptually uniform colour maps only, the default first."""

SCALES = ("shared", "layer", "own")
"""The ways to choose what the darkest and the brightest colour stand for, the default first."""

SCALE_SENTENCES = {
    "shared": "One colour scale for before and after of a group; each group has its own numbers.",
    "layer": "One colour scale for before and after of all groups of the layer.",
    "own": "Each map its own colour scale, from its minimum to its maximum (as in the paper): "
    "colours of two maps cannot be compared.",
}


_SENTENCES_WITHOUT_AFTER = {
    "shared": "Each group its own colour scale, from its minimum to its maximum.",
    "layer": "One colour scale for all groups of the layer.",
    "own": "Each map its own colour scale, from its minimum to its maximum: colours of two maps "
    "cannot be compared.",
}


def scale_sentence(scale: str, has_after: bool = True) -> str:
    """Return what a picture says about its scale; `has_after` is False where there is no SGE."""
    _known_scale(scale)
    return (SCALE_SENTENCES if has_after else _SENTENCES_WITHOUT_AFTER)[scale]


@dataclass(frozen=True, eq=False)
class Range:
    """What the lowest and the highest colour stand for, group by group.

    Attributes:
        low: (G,) float64, the value of the first colour.
        high: (G,) float64, the value of the last colour; never below `low`.
    """

    low: Floats
    high: Floats

    def of(self, group: int) -> tuple[float, float]:
        """Return (low, high) of one group, counted from 0."""
        return float(self.low[group]), float(self.high[group])


@dataclass(frozen=True, eq=False)
class Limits:
    """The colour scales of a layer's norm maps; `after` is None where there is no SGE."""

    before: Range
    after: Range | None


def as_maps(values: npt.ArrayLike, name: str) -> Floats:
    """Return one picture's maps as a float64 array (G, H, W), refusing anything else.

    Args:
        values: (G, H, W), finite.
        name: what the maps are called in an error ("before", "gate", "after").

    Raises:
        ValueError: another number of dimensions, an empty array, NaN or infinite values.
    """
    maps = np.asarray(values, dtype=np.float64)
    if maps.ndim != 3 or maps.size == 0:
        raise ValueError(
            f"The maps {name!r} have shape {maps.shape}; expected (groups, height, width) of one "
            "picture, none of them 0. Take one picture of a batch, for instance maps[0]."
        )
    return finite(maps, name)


def finite(values: npt.ArrayLike, name: str) -> Floats:
    """Return `values` as float64, or raise a ValueError that says where it is not finite."""
    array = np.asarray(values, dtype=np.float64)
    bad = ~np.isfinite(array)
    if bad.any():
        place = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ValueError(
            f"{name!r} holds {int(bad.sum())} value(s) that are not finite, the first at index "
            f"{place}: {array[place]}. Norms and gates are finite; look at the model's output."
        )
    return array


@lru_cache(maxsize=len(COLOUR_MAPS))
def colour_table(name: str = COLOUR_MAPS[0]) -> Bytes:
    """Return the 256 colours of a colour map, (256, 3) uint8 RGB, read-only.

    Raises:
        ValueError: `name` is not one of `COLOUR_MAPS`.
    """
    if name not in COLOUR_MAPS:
        raise ValueError(f"Unknown colour map {name!r}; choose one of: {', '.join(COLOUR_MAPS)}.")
    table = np.array(matplotlib.colormaps[name](np.arange(256), bytes=True)[:, :3], dtype=np.uint8)
    table.flags.writeable = False
    return table


@lru_cache(maxsize=1)
def signed_table() -> Bytes:
    """Return the 256 colours for values below and above 0, (256, 3) uint8 RGB, read-only.

    Dark at 0, blue below and red above: Crameri's "berlin", perceptually uniform to both sides.
    """
    table = np.array(matplotlib.colormaps["berlin"](np.arange(256), bytes=True)[:, :3], np.uint8)
    table.flags.writeable = False
    return table


def limits(before: npt.ArrayLike, after: npt.ArrayLike | None, scale: str = SCALES[0]) -> Limits:
    """Return what the colours of the norm maps stand for.

    * "shared": group g's before and after both run from the lowest to the highest value that
      before[g] and after[g] hold together.
    * "layer": every map runs from the lowest to the highest value of before and after over all
      groups.
    * "own": every map runs from its own lowest to its own highest value.

    Args:
        before: (G, H, W) norms before SGE, finite.
        after: the same after SGE, or None where there is no SGE.
        scale: one of `SCALES`.

    Raises:
        ValueError: an unknown scale, unequal shapes, or values that are not finite.
    """
    _known_scale(scale)
    own_before = _own(as_maps(before, "before"))
    if after is None:
        return Limits(_over_all(own_before) if scale == "layer" else own_before, None)
    own_after = _own(as_maps(after, "after"))
    if np.shape(before) != np.shape(after):
        raise ValueError(
            f"The maps before have shape {np.shape(before)}, those after {np.shape(after)}; "
            "they must be of one layer and one picture."
        )
    if scale == "own":
        return Limits(own_before, own_after)
    both = Range(
        np.minimum(own_before.low, own_after.low), np.maximum(own_before.high, own_after.high)
    )
    if scale == "layer":
        both = _over_all(both)
    return Limits(both, both)


def gate_limits(gate: npt.ArrayLike, scale: str = SCALES[0]) -> Range:
    """Return what the colours of the gate maps stand for.

    "own": each group's own lowest..highest value; "shared" and "layer": the lowest..highest value
    over all groups, because a gate has no before and after and its values (0..1) compare across
    groups.

    Args:
        gate: (G, H, W), finite.
        scale: one of `SCALES`.

    Raises:
        ValueError: an unknown scale, or values that are not finite.
    """
    _known_scale(scale)
    own = _own(as_maps(gate, "gate"))
    return own if scale == "own" else _over_all(own)


def levels(values: npt.ArrayLike, low: npt.ArrayLike, high: npt.ArrayLike) -> Floats:
    """Return ``256 * (value - low) / (high - low)``, and 0 where low == high; not clipped.

    Raises:
        ValueError: a value or limit is not finite, or a low is above its high.
    """
    array = finite(values, "values")
    bottom, top = finite(low, "low"), finite(high, "high")
    if (bottom > top).any():
        raise ValueError("The low end of a colour scale is above its high end; swap them.")
    span = top - bottom
    constant = span == 0
    return np.where(constant, 0.0, (array - bottom) / np.where(constant, 1.0, span) * 256)


def colourise(
    values: npt.ArrayLike,
    low: npt.ArrayLike,
    high: npt.ArrayLike,
    colour_map: str = COLOUR_MAPS[0],
) -> Bytes:
    """Return the colour of every value.

    Args:
        values: any shape, finite.
        low: the value of the first colour; a number, or an array that broadcasts against `values`.
        high: the value of the last colour, likewise. Values outside low..high get the end colours;
            where low == high everything gets the first colour.
        colour_map: one of `COLOUR_MAPS`.

    Returns:
        values.shape + (3,) uint8 RGB.

    Raises:
        ValueError: an unknown colour map, a value that is not finite, or a low above its high.
    """
    colours: Bytes = colour_table(colour_map)[to_index(levels(values, low, high))]
    return colours


def to_index(level: npt.NDArray[np.floating]) -> Bytes:
    """Return the place in the colour table, 0..255, of levels as `levels` gives them."""
    index: Bytes = np.clip(level, 0, 255).astype(np.uint8)
    return index


def _known_scale(scale: str) -> None:
    if scale not in SCALES:
        raise ValueError(f"Unknown scale {scale!r}; choose one of: {', '.join(SCALES)}.")


def _own(maps: Floats) -> Range:
    return Range(maps.min(axis=(1, 2)), maps.max(axis=(1, 2)))


def _over_all(own: Range) -> Range:
    return Range(np.full_like(own.low, own.low.min()), np.full_like(own.high, own.high.max()))
