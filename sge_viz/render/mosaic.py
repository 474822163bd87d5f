"""All groups of a layer as one picture, by indexing into a colour table: milliseconds."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from sge_viz.render.annotate import (
    LINE,
    Theme,
    flow,
    label,
    label_width,
    labelled_bar,
    range_text,
    scale_ends,
    stack,
    text_block,
    theme,
)
from sge_viz.render.colour import (
    COLOUR_MAPS,
    SCALES,
    Bytes,
    Range,
    as_maps,
    colourise,
    gate_limits,
    limits,
    scale_sentence,
)

_GAP = 3  # pixels between the maps of a group
_MARGIN = 16  # pixels between groups, and around everything
_MAP_SIDE = 72  # the longer side of a map, about, where no cell size is given
_LONE_SIDE = 112  # the same where a group has one map only: its numbers need the room
_NARROWEST = 400  # pixels that the legend needs
_WHERE = {
    "shared": "The norm's numbers stand over each group.",
    "layer": "The numbers stand at the bars.",
    "own": "The numbers stand under each map.",
}


@dataclass(frozen=True, eq=False)
class _Panel:
    """One kind of map of all groups: colours (G, H, W, 3) and what they stand for."""

    name: str
    colours: Bytes
    scale: Range


@dataclass(frozen=True)
class _Grid:
    """Where everything of the groups lies, in pixels."""

    cell: int
    columns: int
    pitch: int  # from a map to the next one of its group
    tile: tuple[int, int]
    text: int

    def tile_at(self, place: int) -> tuple[int, int]:
        """Return the left top corner of the group drawn at `place`, counted from 0."""
        row, column = divmod(place, self.columns)
        return column * (self.tile[0] + _MARGIN), row * (self.tile[1] + _MARGIN)

    def size(self, count: int) -> tuple[int, int]:
        """Return the width and height of the grid of `count` groups."""
        rows = math.ceil(count / self.columns)
        width, height = self.tile
        return self.columns * (width + _MARGIN) - _MARGIN, rows * (height + _MARGIN) - _MARGIN


def mosaic(
    before: npt.ArrayLike,
    gate: npt.ArrayLike | None = None,
    after: npt.ArrayLike | None = None,
    *,
    scale: str = SCALES[0],
    colour_map: str = COLOUR_MAPS[0],
    order: Sequence[int] | None = None,
    columns: int | None = None,
    cell: int | None = None,
    title: str = "",
    dark: bool = False,
) -> Image.Image:
    """Draw before | gate | after of every group side by side, with its index and its scale.

    Args:
        before: (G, H, W) norms before SGE, finite.
        gate: the same for the gate, or None; what is None is not drawn.
        after: the same for the norms after SGE, or None.
        scale: one of `SCALES`. Its numbers stand over each group ("shared"), at the colour bars
            ("layer") or under each map ("own"); the gate's at its bar unless "own".
        colour_map: one of `COLOUR_MAPS`.
        order: the groups to draw, in this order, counted from 0; None draws all of them. The
            scale "layer" covers all groups of the layer in any case.
        columns: groups beside each other; None chooses.
        cell: side of a cell in pixels; None makes the longer side of a map about 72 pixels.
        title: what is seen, for instance the layer's names and the checkpoint.
        dark: light text on dark paper.

    Returns:
        An RGB picture.

    Raises:
        ValueError: maps of unequal shape or not finite, an unknown scale or colour map, a group
            that does not exist, columns or cell below 1.
    """
    panels = _panels(before, gate, after, scale, colour_map)
    chosen = _chosen(order, len(panels[0].colours))
    if any(number is not None and number < 1 for number in (columns, cell)):
        raise ValueError(f"columns ({columns}) and cell ({cell}) must be at least 1.")
    look = theme(dark)
    grid = _grid(panels, chosen, scale, cell, columns)
    groups = _draw_groups(panels, chosen, grid, scale, look)
    width = max(groups.width, _NARROWEST)
    parts = [groups, _legend(panels, scale, colour_map, width=width, text=grid.text, look=look)]
    if title:
        parts.insert(0, text_block(title, width, grid.text + 3, look, bold=True))
    return stack(parts, _MARGIN, look.paper, margin=_MARGIN)


def png_bytes(image: Image.Image) -> bytes:
    """Return a picture as a PNG file: lossless, quickly compressed, without metadata."""
    buffer = io.BytesIO()
    bare = image if not image.info else image.copy()
    bare.info = {}
    bare.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _panels(
    before: npt.ArrayLike,
    gate: npt.ArrayLike | None,
    after: npt.ArrayLike | None,
    scale: str,
    colour_map: str,
) -> list[_Panel]:
    norms = limits(before, after, scale)
    kinds: list[tuple[str, npt.ArrayLike, Range]] = [("before", before, norms.before)]
    if gate is not None:
        kinds.append(("gate", gate, gate_limits(gate, scale)))
    if after is not None and norms.after is not None:
        kinds.append(("after", after, norms.after))
    panels = []
    for name, values, ends in kinds:
        maps = as_maps(values, name)
        if maps.shape != np.shape(before):
            raise ValueError(
                f"The maps {name!r} have shape {maps.shape}, those before SGE {np.shape(before)}; "
                "they must be of one layer and one picture."
            )
        low, high = ends.low[:, None, None], ends.high[:, None, None]
        panels.append(_Panel(name, colourise(maps, low, high, colour_map), ends))
    return panels


def _chosen(order: Sequence[int] | None, groups: int) -> list[int]:
    chosen = list(range(groups)) if order is None else [int(group) for group in order]
    wrong = [group for group in chosen if not 0 <= group < groups]
    if wrong or not chosen:
        raise ValueError(
            f"Groups run from 0 to {groups - 1}; the order to draw them in holds {wrong or 'none'}."
        )
    return chosen


def _grid(
    panels: list[_Panel], chosen: list[int], scale: str, cell: int | None, columns: int | None
) -> _Grid:
    height, width = panels[0].colours.shape[1:3]
    longer = max(height, width)
    side = _MAP_SIDE if len(panels) > 1 else _LONE_SIDE
    cell = cell or max(1, round(side / longer))
    # a lone map is as wide as its index and numbers, if the letters are small enough
    text = min(max(12, round((0.18 if len(panels) > 1 else 0.12) * cell * longer)), 40)
    map_width, tile_height = cell * width, _line(text) + cell * height
    over_maps = max(label_width(str(group), text, bold=True) for group in chosen)
    gap = _GAP
    if scale == "own":
        # eleven characters wide, mostly: smaller letters keep the maps of a group together
        numbers = max(_number_width(panel, chosen, _small(text)) for panel in panels)
        gap = max(gap, numbers + _small(text) - map_width)
        tile_height += _line(_small(text))
    elif scale == "shared":
        over_maps += text + _number_width(panels[0], chosen, text)
    pitch = map_width + gap
    tile = (max(len(panels) * pitch - _GAP, over_maps), tile_height)
    if columns is None:
        # about twice as wide as high, in full rows where the groups are a power of two
        ideal = math.sqrt(2 * len(chosen) * (tile[1] + _MARGIN) / (tile[0] + _MARGIN))
        columns = 2 ** max(0, round(math.log2(ideal)))
    return _Grid(cell, min(columns, len(chosen)), pitch, tile, text)


def _line(text: int) -> int:
    return round(text * LINE)


def _small(text: int) -> int:
    return max(11, text - 2)


def _number_width(panel: _Panel, chosen: list[int], text: int) -> int:
    return max(label_width(range_text(*panel.scale.of(group)), text) for group in chosen)


def _draw_groups(
    panels: list[_Panel], chosen: list[int], grid: _Grid, scale: str, look: Theme
) -> Image.Image:
    canvas = np.array(Image.new("RGB", grid.size(len(chosen)), look.paper))

    def put(block: Bytes, x: int, y: int) -> None:
        canvas[y : y + block.shape[0], x : x + block.shape[1]] = block

    def numbers(panel: _Panel, group: int, size: int) -> Bytes:
        return label(range_text(*panel.scale.of(group)), size, look, faint=True)

    for place, group in enumerate(chosen):
        left, top = grid.tile_at(place)
        put(label(str(group), grid.text, look, bold=True), left, top)
        if scale == "shared":
            text = numbers(panels[0], group, grid.text)
            put(text, left + grid.tile[0] - text.shape[1], top)
        for number, panel in enumerate(panels):
            x, y = left + number * grid.pitch, top + _line(grid.text)
            cells = panel.colours[group].repeat(grid.cell, axis=0).repeat(grid.cell, axis=1)
            put(cells, x, y)
            if scale == "own":
                put(numbers(panel, group, _small(grid.text)), x, y + cells.shape[0])
    return Image.fromarray(canvas)


def _legend(
    panels: list[_Panel], scale: str, colour_map: str, *, width: int, text: int, look: Theme
) -> Image.Image:
    """Return the colour bars, with numbers where one scale holds for all, and the sentences."""
    names = [panel.name for panel in panels]
    ends = {panel.name: scale_ends(*panel.scale.of(0)) for panel in panels}
    if scale == "own":
        bars = [("norm, gate" if "gate" in names else "norm", ("map's lowest", "highest"))]
    else:
        bars = [("norm", ends["before"] if scale == "layer" else ("group's lowest", "highest"))]
        bars += [("gate", ends["gate"])] if "gate" in names else []
    drawn = [labelled_bar(colour_map, name, pair, text, look) for name, pair in bars]
    notes = (
        f"{_reading(names)} {scale_sentence(scale, 'after' in names)} {_WHERE[scale]} "
        "Groups are counted from 0; the paper counts from 1."
    )
    lines = text_block(notes, width, text, look, faint=True)
    return stack([*flow(drawn, width, 3 * _MARGIN, look.paper), lines], _MARGIN // 2, look.paper)


def _reading(names: list[str]) -> str:
    if names == ["before"]:
        return "One map a group: the norm of its channels at each place."
    titles = {"before": "norm before SGE", "gate": "gate", "after": "norm after SGE"}
    return f"Each group, left to right: {', '.join(titles[name] for name in names)}."
