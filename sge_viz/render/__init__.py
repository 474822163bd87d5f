"""Arrays in, pictures out: colour scales, mosaics, overlays, strips, figures.

Knows neither torch nor a model: everything `numpy.asarray` takes will do.
"""

from sge_viz.render.colour import (
    COLOUR_MAPS,
    SCALE_SENTENCES,
    SCALES,
    Limits,
    Range,
    colour_table,
    colourise,
    gate_limits,
    limits,
    scale_sentence,
)
from sge_viz.render.figures import (
    FORMATS,
    PictureMaps,
    figure2,
    figure_bytes,
    norm_histogram,
)
from sge_viz.render.mosaic import mosaic, png_bytes
from sge_viz.render.overlay import overlay
from sge_viz.render.strip import OnPicture, strip

__all__ = [
    "COLOUR_MAPS",
    "FORMATS",
    "SCALES",
    "SCALE_SENTENCES",
    "Limits",
    "OnPicture",
    "PictureMaps",
    "Range",
    "colour_table",
    "colourise",
    "figure2",
    "figure_bytes",
    "gate_limits",
    "limits",
    "mosaic",
    "norm_histogram",
    "overlay",
    "png_bytes",
    "scale_sentence",
    "strip",
]
