"""One group, large: before | gate | after, each with its own labelled scale."""

from dataclasses import dataclass

import numpy.typing as npt
from PIL import Image, ImageDraw

from sge_viz.render.annotate import (
    LINE,
    Theme,
    beside,
    colour_bar,
    font,
    group_name,
    scale_ends,
    stack,
    text_block,
    text_width,
    theme,
)
from sge_viz.render.colour import (
    COLOUR_MAPS,
    SCALES,
    Floats,
    as_maps,
    gate_limits,
    limits,
    scale_sentence,
)
from sge_viz.render.overlay import Box, as_image, map_image, overlay

_TEXT = 15
_MARGIN = 18


@dataclass(frozen=True)
class OnPicture:
    """Where the maps lie on the picture, for the overlays of a strip.

    Attributes:
        image: the picture, a PIL image or (h, w, 3) uint8.
        box: left, top, right, bottom of what the network saw, in pixels of `image`.
        opacity: of the map, 0..1.
    """

    image: Image.Image | npt.ArrayLike
    box: Box
    opacity: float = 0.6


@dataclass(frozen=True, eq=False)
class _Panel:
    title: str
    unit: str
    values: Floats
    ends: tuple[float, float]


def strip(
    before: npt.ArrayLike,
    gate: npt.ArrayLike | None,
    after: npt.ArrayLike | None,
    group: int,
    *,
    scale: str = SCALES[0],
    colour_map: str = COLOUR_MAPS[0],
    picture: OnPicture | None = None,
    smooth: bool | str = False,
    layer: str = "",
    checkpoint: str = "",
    gamma: float | None = None,
    beta: float | None = None,
    size: int = 300,
    dark: bool = False,
) -> Image.Image:
    """Draw before | gate | after of one group, each with its title and its labelled scale bar.

    Args:
        before: (G, H, W) norms of all groups before SGE, finite.
        gate: the same for the gate, or None; what is None is not drawn.
        after: the same for the norms after SGE, or None.
        group: which group to draw, counted from 0.
        scale: one of `SCALES`.
        colour_map: one of `COLOUR_MAPS`.
        picture: where given, a second row shows every map laid over the picture.
        smooth: False for cells; True, "bilinear" or "bicubic" to interpolate the values.
        layer: the layer in its two names, written in the head.
        checkpoint: the weights' name, likewise.
        gamma: the group's learned scale, likewise.
        beta: the group's learned offset, likewise.
        size: about the longer side of a map, and the longer side of the picture, in pixels.
        dark: light text on dark paper.

    Returns:
        An RGB picture.

    Raises:
        ValueError: maps of unequal shape or not finite, a group that does not exist, an unknown
            scale, colour map or smoothing, a size below 16.
    """
    panels = _panels(before, gate, after, group, scale)
    if size < 16:
        raise ValueError(f"A strip's maps can't be {size} pixels large; give 16 or more.")
    look = theme(dark)
    columns = [
        _column(panel, picture, colour_map, smooth=smooth, size=size, look=look) for panel in panels
    ]
    body = beside(columns, _MARGIN, look.paper)
    width = max(body.width, 320)
    head = [text_block(group_name(group), width, _TEXT + 3, look, bold=True)]
    facts = [layer, checkpoint]
    facts += [f"{n} {v:.3g}" for n, v in (("gamma", gamma), ("beta", beta)) if v is not None]
    if any(facts):
        line = ", ".join(fact for fact in facts if fact)
        head.append(text_block(line, width, _TEXT, look, faint=True))
    note = scale_sentence(scale, after is not None)
    foot = text_block(note, width, _TEXT - 2, look, faint=True)
    return stack([stack(head, 2, look.paper), body, foot], _MARGIN, look.paper, margin=_MARGIN)


def _panels(
    before: npt.ArrayLike,
    gate: npt.ArrayLike | None,
    after: npt.ArrayLike | None,
    group: int,
    scale: str,
) -> list[_Panel]:
    norms = limits(before, after, scale)
    maps = as_maps(before, "before")
    if not 0 <= group < len(maps):
        raise ValueError(f"There is no group {group}; groups run from 0 to {len(maps) - 1}.")
    title = "before SGE" if after is not None else "norm of channels"
    panels = [_Panel(title, "norm", maps[group], norms.before.of(group))]
    if gate is not None:
        gates = as_maps(gate, "gate")
        if gates.shape != maps.shape:
            raise ValueError(f"The gate has shape {gates.shape}, the norms have {maps.shape}.")
        ends = gate_limits(gate, scale).of(group)
        panels.append(_Panel("gate", "gate, 0..1", gates[group], ends))
    if after is not None and norms.after is not None:
        ends = norms.after.of(group)
        panels.append(_Panel("after SGE", "norm", as_maps(after, "after")[group], ends))
    return panels


def _column(
    panel: _Panel,
    picture: OnPicture | None,
    colour_map: str,
    *,
    smooth: bool | str,
    size: int,
    look: Theme,
) -> Image.Image:
    """Return title, map, overlay where there is a picture, and scale bar, below each other."""
    height, width = panel.values.shape
    cell = max(1, round(size / max(height, width)))
    pixels = (cell * width, cell * height)
    parts = [map_image(panel.values, panel.ends, pixels, colour_map, smooth)]
    if picture is not None:
        parts.append(_on_picture(panel, picture, colour_map, smooth, max(pixels)))
    bar_width = max(220, *(part.width for part in parts))
    title = text_block(panel.title, bar_width, _TEXT, look, bold=True)
    bar = _scale_bar(panel, colour_map, bar_width, look)
    return stack([title, *parts, bar], 8, look.paper)


def _on_picture(
    panel: _Panel, picture: OnPicture, colour_map: str, smooth: bool | str, size: int
) -> Image.Image:
    image = as_image(picture.image)
    factor = size / max(image.size)
    width, height = (max(1, round(side * factor)) for side in image.size)
    across, down = width / image.width, height / image.height
    left, top, right, bottom = picture.box
    box = (left * across, top * down, right * across, bottom * down)
    shown = image.resize((width, height), Image.Resampling.LANCZOS)
    return overlay(
        shown, panel.values, box, panel.ends, colour_map, opacity=picture.opacity, smooth=smooth
    )


def _scale_bar(panel: _Panel, colour_map: str, width: int, look: Theme) -> Image.Image:
    """Return the bar with its unit between the numbers at its ends."""
    image = Image.new("RGB", (width, 14 + round(_TEXT * LINE) + 3), look.paper)
    image.paste(colour_bar(colour_map, width, 14))
    draw = ImageDraw.Draw(image)
    low, high = scale_ends(*panel.ends)
    middle = panel.unit
    if panel.ends[0] == panel.ends[1]:
        low, middle, high = f"{low} {high}", "", panel.unit
    draw.text((0, 17), low, font=font(_TEXT), fill=look.ink)
    draw.text((width, 17), high, font=font(_TEXT), fill=look.ink, anchor="ra")
    room = width - 2 * max(text_width(low, _TEXT), text_width(high, _TEXT)) - _TEXT
    if text_width(middle, _TEXT) <= room:
        draw.text((width / 2, 17), middle, font=font(_TEXT), fill=look.faint, anchor="ma")
    return image
