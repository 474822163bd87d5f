"""An explanation as pictures: hands its arrays to render, and gives back a file's bytes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from sge_viz.explain import Explanation
from sge_viz.render.figure_files import figure_bytes
from sge_viz.render.figures import PictureMaps
from sge_viz.render.figures import figure2 as paper_figure2
from sge_viz.render.histogram import norm_histogram
from sge_viz.render.mosaic import mosaic, png_bytes
from sge_viz.render.strip import OnPicture, strip

Array = npt.NDArray[np.float32]


def grid(explanation: Explanation, layer: str, *, colour_map: str, scale: str) -> bytes:
    """Draw every group of `layer`, before, gate and after, as PNG bytes.

    Raises:
        UnknownLayerError: The network has no such layer.
        ValueError: An unknown colour map or scale.
    """
    image = mosaic(
        *_arrays(explanation, layer),
        colour_map=colour_map,
        scale=scale,
        title=f"{explanation.layer_title(layer)} \u2013 {explanation.card.title}",
    )
    return png_bytes(image)


def group(
    explanation: Explanation, layer: str, index: int, *, colour_map: str, scale: str
) -> bytes:
    """Draw one group's before | gate | after, alone and over the picture, as PNG bytes.

    Raises:
        UnknownLayerError: The network has no such layer.
        ValueError: An unknown group, colour map or scale.
    """
    maps, shown = explanation.chosen(layer), explanation.input
    image = strip(
        *_arrays(explanation, layer),
        index,
        colour_map=colour_map,
        scale=scale,
        picture=OnPicture(shown.picture.image, shown.box),
        layer=explanation.layer_title(layer),
        checkpoint=explanation.card.title,
        gamma=None if maps.gamma is None else float(maps.gamma[index]),
        beta=None if maps.beta is None else float(maps.beta[index]),
    )
    return png_bytes(image)


def histogram(
    explanation: Explanation, layer: str, index: int | None, kind: str, *, logarithmic: bool
) -> bytes:
    """Draw the norms of one group, or with None of all groups, as a `kind` file (png, svg, pdf).

    Raises:
        UnknownLayerError: The network has no such layer.
        ValueError: An unknown kind of file.
    """
    before, _, after = _arrays(explanation, layer)
    if index is not None:
        before, after = before[index], None if after is None else after[index]
    figure = norm_histogram(
        before,
        after,
        group=index,
        layer=explanation.layer_title(layer),
        checkpoint=explanation.card.title,
        log=logarithmic,
    )
    return figure_bytes(figure, kind)


def row(explanation: Explanation, layer: str) -> PictureMaps:
    """Take from an explanation what Figure 2 shows of it, and let the rest go.

    Raises:
        UnknownLayerError: The network has no such layer.
    """
    before, _, after = _arrays(explanation, layer)
    return PictureMaps(explanation.input.view(), before, after)


def figure2(
    rows: Sequence[PictureMaps],
    groups: Sequence[int],
    kind: str,
    *,
    layer: str,
    checkpoint: str,
    colour_map: str,
    scale: str,
) -> bytes:
    """Draw the paper's Figure 2 as a `kind` file: pictures in rows, groups in columns.

    Args:
        rows: From `row`, all of the same layer and weights.
        groups: Counted from 0.
        kind: "png", "svg" or "pdf".
        layer: The layer's title.
        checkpoint: The weights' title.
        colour_map: One of `COLOUR_MAPS`.
        scale: One of `SCALES`; the paper's is "own".

    Raises:
        ValueError: No row, or an unknown group, colour map, scale or kind of file.
    """
    figure = paper_figure2(
        rows, groups, layer=layer, checkpoint=checkpoint, colour_map=colour_map, scale=scale
    )
    return figure_bytes(figure, kind)


def _arrays(explanation: Explanation, layer: str) -> tuple[Array, Array | None, Array | None]:
    maps = explanation.chosen(layer)
    gate = None if maps.gate is None else maps.gate[0].numpy()
    after = None if maps.after is None else maps.after[0].numpy()
    return maps.before[0].numpy(), gate, after
