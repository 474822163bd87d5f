"""The paper's Figure 2: rows are pictures, columns are groups, each before and after SGE.

Everything is drawn in inches on one set of axes that fills the sheet: text keeps its size however
many rows and columns there are, and a hundred maps cost no hundred axes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from sge_viz.render.annotate import group_name, range_text, shorten
from sge_viz.render.colour import (
    COLOUR_MAPS,
    Limits,
    as_maps,
    colour_table,
    limits,
    scale_sentence,
)
from sge_viz.render.figure_files import FORMATS, figure_bytes, figure_style, wrapped
from sge_viz.render.histogram import norm_histogram
from sge_viz.render.overlay import as_image, map_image

__all__ = ["FORMATS", "PictureMaps", "figure2", "figure_bytes", "norm_histogram"]

TEXT_WIDTH = 7.16
"""Inches; both columns of a two-column paper."""

_MARGIN, _PAIR_GAP, _GROUP_GAP = 0.08, 0.03, 0.14
_CELL = (0.62, 1.5)  # a map's side at least, so that its numbers fit, and at most
_TITLE, _LABEL, _NUMBER = 8.0, 7.0, 6.0  # points
_NUMBERS = {
    "own": "The numbers stand under each map.",
    "shared": "The numbers stand under each group.",
    "layer": "Each picture has its own numbers, under its row.",
}


@dataclass(frozen=True, eq=False)
class PictureMaps:
    """One row of the figure.

    Attributes:
        image: what the network saw, a PIL image or (h, w, 3) uint8: maps cover it exactly.
        before: (G, H, W) norms before SGE, finite.
        after: the same after SGE; None where there is no SGE.
        name: written under the picture.
    """

    image: Image.Image | npt.ArrayLike
    before: npt.ArrayLike
    after: npt.ArrayLike | None = None
    name: str = ""


@dataclass(frozen=True)
class _Sheet:
    """Sizes in inches: columns from left to right, parts from top to bottom."""

    side: float  # of a map
    maps: int  # a group: 2 with an after, else 1
    groups: int
    title: tuple[str, ...]
    names: tuple[tuple[str, ...], ...]  # of the groups, in lines
    rows: tuple[float, ...]  # heights
    caption: tuple[str, ...]

    @property
    def group_width(self) -> float:
        return self.maps * self.side + (self.maps - 1) * _PAIR_GAP

    @property
    def width(self) -> float:
        return 2 * _MARGIN + self.side + self.groups * (_GROUP_GAP + self.group_width)

    @property
    def top(self) -> float:
        """Where the names of the groups begin."""
        return _MARGIN + len(self.title) * _line(_TITLE) + (0.06 if self.title else 0)

    def row_at(self, row: int) -> float:
        """Where the maps of a row begin."""
        names = max(len(lines) for lines in self.names) + (1 if self.maps == 2 else 0)
        first = self.top + names * _line(_LABEL) + 0.03
        return first + sum(height + _line(_NUMBER) + 0.05 for height in self.rows[:row])

    @property
    def height(self) -> float:
        foot = (1 + len(self.caption)) * _line(_LABEL)
        return self.row_at(len(self.rows)) + 0.1 + foot + _MARGIN

    def numbers_at(self, row: int) -> float:
        """Where the line under the maps of a row begins."""
        return self.row_at(row) + self.rows[row] + 0.02

    def map_at(self, group: int, number: int) -> float:
        """The left edge of a column's first or second map."""
        return self.group_at(group) + number * (self.side + _PAIR_GAP)

    def group_at(self, group: int) -> float:
        """The left edge of the `group`-th column of groups."""
        return _MARGIN + self.side + _GROUP_GAP + group * (self.group_width + _GROUP_GAP)


def figure2(
    pictures: Sequence[PictureMaps],
    groups: Sequence[int],
    *,
    scale: str = "own",
    colour_map: str = COLOUR_MAPS[0],
    layer: str = "",
    checkpoint: str = "",
    smooth: bool | str = False,
    width: float = TEXT_WIDTH,
) -> Figure:
    """Draw the paper's Figure 2: each picture with its maps of some groups, before and after SGE.

    Args:
        pictures: the rows; all with an after, or all without.
        groups: the columns, counted from 0; the paper's number is written beside it.
        scale: "own" as in the paper, "shared" or "layer"; the caption says which, and the numbers
            stand under the maps.
        colour_map: one of `COLOUR_MAPS`.
        layer: the layer in its two names, for the title.
        checkpoint: the weights' name, for the title.
        smooth: False for cells; True, "bilinear" or "bicubic" to interpolate the values.
        width: inches; exceeded where maps would be narrower than 0.62 inches, not filled where
            they would be wider than 1.5.

    Raises:
        ValueError: no pictures or groups, a group that does not exist, maps of unequal shape or
            not finite, only some pictures with an after, an unknown scale, colour map, smoothing.
    """
    ends = _checked(pictures, groups, scale)
    sheet = _sheet(pictures, groups, scale, width, ", ".join(filter(None, (layer, checkpoint))))
    with figure_style():
        figure = Figure(figsize=(sheet.width, sheet.height))
        axes = figure.add_axes((0, 0, 1, 1), autoscale_on=False)
        axes.set(xlim=(0, sheet.width), ylim=(sheet.height, 0))
        axes.set_axis_off()
        drawing = _Drawing(axes, sheet, tuple(groups), scale, colour_map, smooth)
        drawing.head()
        for row, (picture, row_ends) in enumerate(zip(pictures, ends, strict=True)):
            drawing.picture(row, picture)
            drawing.maps(row, picture, row_ends)
            drawing.numbers(row, row_ends)
        drawing.foot()
    return figure


def _checked(pictures: Sequence[PictureMaps], groups: Sequence[int], scale: str) -> list[Limits]:
    """Return each picture's limits; raise where a figure can't be drawn."""
    if not pictures or not groups:
        raise ValueError("The figure needs at least one picture and one group.")
    if len({picture.after is None for picture in pictures}) > 1:
        raise ValueError("Some pictures have maps after SGE and some have none; draw them apart.")
    for picture in pictures:
        count = len(as_maps(picture.before, "before"))
        wrong = [group for group in groups if not 0 <= group < count]
        if wrong:
            raise ValueError(f"There is no group {wrong[0]}; groups run from 0 to {count - 1}.")
    return [limits(picture.before, picture.after, scale) for picture in pictures]


def _sheet(
    pictures: Sequence[PictureMaps], groups: Sequence[int], scale: str, width: float, title: str
) -> _Sheet:
    has_after = pictures[0].after is not None
    maps = 2 if has_after else 1
    gaps = 2 * _MARGIN + len(groups) * (_GROUP_GAP + (maps - 1) * _PAIR_GAP)
    side = float(np.clip((width - gaps) / (1 + maps * len(groups)), *_CELL))
    sizes = [as_image(picture.image).size for picture in pictures]
    rows = tuple(side * float(np.clip(h / w, 0.3, 1.5)) for w, h in sizes)
    group_width = maps * side + (maps - 1) * _PAIR_GAP
    names = tuple(tuple(wrapped(group_name(g), group_width, _LABEL)) for g in groups)
    inner = side + len(groups) * (_GROUP_GAP + group_width)
    caption = (
        f"Norm of each group's channels{' before and after SGE' if has_after else ''}. "
        f"{scale_sentence(scale, has_after)} {_NUMBERS[scale]} "
        "Groups are counted from 0; the paper's number, from 1, stands in brackets."
    )
    return _Sheet(
        side=side,
        maps=maps,
        groups=len(groups),
        title=tuple(wrapped(title, inner, _TITLE)),
        names=names,
        rows=rows,
        caption=tuple(wrapped(caption, inner, _LABEL)),
    )


def _line(points: float) -> float:
    """The distance of two lines of text, in inches."""
    return 1.3 * points / 72


@dataclass(frozen=True)
class _Drawing:
    """The figure being drawn: where to, and how."""

    axes: Axes
    sheet: _Sheet
    groups: tuple[int, ...]
    scale: str
    colour_map: str
    smooth: bool | str

    def head(self) -> None:
        """Write the title, and over the maps the groups' names, "before" and "after"."""
        sheet = self.sheet
        for number, line in enumerate(sheet.title):
            y = _MARGIN + number * _line(_TITLE)
            self._write(_MARGIN, y, line, _TITLE, align="left")
        below = sheet.row_at(0) - 0.03
        for column, lines in enumerate(sheet.names):
            left = sheet.group_at(column)
            y = below - (len(lines) + sheet.maps - 1) * _line(_LABEL)
            for number, line in enumerate(lines):
                middle = left + sheet.group_width / 2
                self._write(middle, y + number * _line(_LABEL), line, _LABEL)
            for number, word in enumerate(("before", "after")[: 2 * (sheet.maps == 2)]):
                middle = sheet.map_at(column, number) + sheet.side / 2
                self._write(middle, below - _line(_LABEL), word, _LABEL)

    def picture(self, row: int, picture: PictureMaps) -> None:
        """Draw the picture of a row, and its name."""
        sheet = self.sheet
        image = as_image(picture.image)
        image.thumbnail((700, 700), Image.Resampling.LANCZOS)
        self._show(np.asarray(image), _MARGIN, row)
        name = shorten(picture.name, sheet.side * 720, round(_NUMBER * 10))
        self._write(_MARGIN + sheet.side / 2, sheet.numbers_at(row), name, _NUMBER)

    def maps(self, row: int, picture: PictureMaps, ends: Limits) -> None:
        """Draw the chosen groups' maps of a row."""
        kinds = [(as_maps(picture.before, "before"), ends.before)]
        if picture.after is not None and ends.after is not None:
            kinds.append((as_maps(picture.after, "after"), ends.after))
        for column, group in enumerate(self.groups):
            for number, (maps, scale) in enumerate(kinds):
                height, width = maps.shape[1:]
                factor = max(1, round(256 / max(height, width))) if self.smooth else 1
                size = (width * factor, height * factor)
                cells = map_image(maps[group], scale.of(group), size, self.colour_map, self.smooth)
                self._show(np.asarray(cells), self.sheet.map_at(column, number), row)

    def numbers(self, row: int, ends: Limits) -> None:
        """Write what the colours of a row stand for."""
        sheet, y = self.sheet, self.sheet.numbers_at(row)
        if self.scale == "layer":
            middle = (sheet.map_at(0, 0) + sheet.width - _MARGIN) / 2
            self._write(middle, y, range_text(*ends.before.of(0)), _NUMBER)
            return
        for column, group in enumerate(self.groups):
            if self.scale == "shared" or ends.after is None:
                middle = sheet.group_at(column) + sheet.group_width / 2
                self._write(middle, y, range_text(*ends.before.of(group)), _NUMBER)
                continue
            for number, kind in enumerate((ends.before, ends.after)):
                middle = sheet.map_at(column, number) + sheet.side / 2
                self._write(middle, y, range_text(*kind.of(group)), _NUMBER)

    def foot(self) -> None:
        """Draw the colour bar, and write the caption under it."""
        y = self.sheet.row_at(len(self.sheet.rows)) + 0.06
        left, length = _MARGIN + 0.38, 1.0
        self.axes.imshow(
            colour_table(self.colour_map)[None],
            extent=(left, left + length, y + 0.1, y + 0.01),
            aspect="auto",
            interpolation="nearest",
        )
        self._write(_MARGIN, y, "lowest", _LABEL, align="left")
        self._write(left + length + 0.06, y, "highest", _LABEL, align="left")
        y += 0.04
        for number, line in enumerate(self.sheet.caption, start=1):
            self._write(_MARGIN, y + number * _line(_LABEL), line, _LABEL, align="left")

    def _show(self, colours: npt.NDArray[np.uint8], x: float, row: int) -> None:
        """Draw an array at the top of its place, as large as its proportions allow."""
        width, height = self.sheet.side, self.sheet.rows[row]
        rows, columns = colours.shape[:2]
        step = min(width / columns, height / rows)
        left, top = x + (width - step * columns) / 2, self.sheet.row_at(row)
        self.axes.imshow(
            colours,
            extent=(left, left + step * columns, top + step * rows, top),
            aspect="auto",
            interpolation="nearest" if max(rows, columns) < 200 else "auto",
        )

    def _write(
        self, x: float, y: float, text: str, points: float, *, align: str = "center"
    ) -> None:
        # names come from files: a dollar sign in them is no mathematics
        self.axes.text(x, y, text, fontsize=points, ha=align, va="top", parse_math=False)
