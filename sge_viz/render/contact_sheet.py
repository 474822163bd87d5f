"""A contact sheet: groups in rows, pictures in columns, each group's map over each picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from sge_viz.render.annotate import (
    LIGHT,
    beside,
    colour_bar,
    group_name,
    shorten,
    stack,
    text_block,
)
from sge_viz.render.colour import COLOUR_MAPS, as_maps
from sge_viz.render.figures import PictureMaps
from sge_viz.render.overlay import as_image, overlay

_TEXT = 15
_NAME = 92
_PAIR_GAP, _GAP = 2, 10


def contact_sheet(
    pictures: Sequence[PictureMaps],
    groups: Sequence[int],
    *,
    layer: str = "",
    checkpoint: str = "",
    colour_map: str = COLOUR_MAPS[0],
    side: int = 112,
) -> Image.Image:
    """Lay the maps of some groups over pictures, before and after SGE beside each other.

    Both maps of a pair have one colour scale, from the lowest to the highest norm of the two; each
    pair has its own.

    Args:
        pictures: The columns, with `image` as the network saw it.
        groups: The rows, counted from 0.
        layer: The layer's title.
        checkpoint: The weights' title.
        colour_map: One of `COLOUR_MAPS`.
        side: Height of a picture in pixels.

    Raises:
        ValueError: No picture or group, a group that is not there, maps of wrong shape.
    """
    if not pictures or not groups:
        raise ValueError("A contact sheet needs at least one picture and one group.")
    small = [_resized(picture, side) for picture in pictures]
    head = [_column_head(picture, image) for picture, image in zip(pictures, small, strict=True)]
    blank = Image.new("RGB", (_NAME, 1), LIGHT.paper)
    rows = [beside([blank, *head], _GAP, LIGHT.paper)]
    for group in groups:
        name = text_block(group_name(group), _NAME, _TEXT, LIGHT, bold=True)
        cells = [
            _pair(picture, image, group, colour_map)
            for picture, image in zip(pictures, small, strict=True)
        ]
        rows.append(beside([name, *cells], _GAP, LIGHT.paper))
    width = max(row.width for row in rows)
    title = " \N{EN DASH} ".join(part for part in (layer, checkpoint) if part)
    if title:
        rows.insert(0, text_block(title, width, _TEXT + 4, LIGHT, bold=True))
    rows.append(_legend(colour_map, width))
    return stack(rows, _GAP, LIGHT.paper, margin=2 * _GAP)


def _resized(picture: PictureMaps, side: int) -> Image.Image:
    image = as_image(picture.image)
    width = max(1, round(image.width * side / image.height))
    return image.resize((width, side), Image.Resampling.LANCZOS)


def _column_head(picture: PictureMaps, image: Image.Image) -> Image.Image:
    pair = 1 if picture.after is None else 2
    width = pair * image.width + (pair - 1) * _PAIR_GAP
    text = shorten(picture.name, width, _TEXT)
    words = "before SGE | after" if pair == 2 else "no SGE"
    parts = [image, text_block(words, width, _TEXT - 3, LIGHT, faint=True)]
    if text:
        parts.insert(0, text_block(text, width, _TEXT, LIGHT))
    return stack(parts, 2, LIGHT.paper)


def _pair(picture: PictureMaps, image: Image.Image, group: int, colour_map: str) -> Image.Image:
    before = as_maps(picture.before, "before")
    after = None if picture.after is None else as_maps(picture.after, "after")
    if not 0 <= group < len(before):
        raise ValueError(f"There is no group {group}: this layer has 0 to {len(before) - 1}.")
    maps = [before[group]] if after is None else [before[group], after[group]]
    limits = (float(np.min(maps)), float(np.max(maps)))
    box = (0.0, 0.0, float(image.width), float(image.height))
    covered = [
        overlay(image, values, box, limits, colour_map, opacity=0.6, smooth=True) for values in maps
    ]
    return beside(covered, _PAIR_GAP, LIGHT.paper)


def _legend(colour_map: str, width: int) -> Image.Image:
    bar = colour_bar(colour_map, 160, _TEXT)
    words = "norm: lowest to highest of each pair before | after; smoothed between cells"
    return beside(
        [bar, text_block(words, width - bar.width - _GAP, _TEXT, LIGHT)], _GAP, LIGHT.paper
    )
