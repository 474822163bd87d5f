"""Saving figures as PNG, SVG or PDF, the same bytes every time, and the style they share.

Matplotlib's settings are global and not thread-safe, so figures are made and saved one at a time,
from Matplotlib's own defaults, whatever the process has set; pyplot is never used.
"""

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from sge_viz.render.annotate import wrap

FORMATS = ("png", "svg", "pdf")

_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8.0,
    "text.hinting": "none",  # else the width of a text depends on the resolution
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "image.composite_image": False,
    "pdf.fonttype": 42,
    "svg.hashsalt": "sge-viz",
}
_LOCK = threading.RLock()


@contextmanager
def figure_style() -> Iterator[None]:
    """Hold Matplotlib's settings at ours while a figure is made or saved; one thread at a time."""
    with _LOCK, matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def figure_bytes(
    figure: Figure, format: str = "png", *, dpi: int = 300, svg_text: bool = True
) -> bytes:
    """Return a figure as a file. The same figure gives the same bytes.

    Args:
        figure: any Matplotlib figure.
        format: "png", "svg" or "pdf"; fonts are embedded in a PDF (as Type 42, which journals
            take).
        dpi: pixels per inch of a PNG and of the pictures inside an SVG or PDF. Lowered where a
            side would have more pixels than Matplotlib can draw (65,536).
        svg_text: True keeps text as text in an SVG (to search and edit; the reader's machine
            supplies the font), False turns it into outlines.

    Raises:
        ValueError: another format.
    """
    kind = format.lower().removeprefix(".")
    if kind not in FORMATS:
        raise ValueError(f"Can't save a figure as {format!r}; choose one of: {', '.join(FORMATS)}.")
    dated = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
    buffer = io.BytesIO()
    with figure_style():
        matplotlib.rcParams["svg.fonttype"] = "none" if svg_text else "path"
        largest = max(figure.get_size_inches())
        figure.savefig(
            buffer,
            format=kind,
            dpi=min(dpi, int(65_000 / largest)),
            metadata=dated[kind],
            facecolor="white",
        )
    return buffer.getvalue()


def wrapped(text: str, inches: float, points: float) -> list[str]:
    """Break text into lines that fit a width at a font size."""
    # measured at ten times the size, because the measure is in whole pixels
    return wrap(text, inches * 720, round(points * 10))
