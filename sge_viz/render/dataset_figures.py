"""The paper's Figures 3 and 4 from counts and moments over a data set.

Beside them, where the caller says that the weights are the paper's, stand the values read off the
published figures.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sge_viz.render.colour import Floats
from sge_viz.render.figure_files import figure_style, wrapped

COLUMN_WIDTH, TEXT_WIDTH = 3.5, 7.16
"""Inches: one column of a two-column paper, and both."""

PUBLISHED_PEAKS = {"before": 3.1, "after": 1.9}
"""Where the histograms of the paper's Figure 3 peak, read off the picture."""
PUBLISHED_TAIL = 28.0
"""Where the tail of the paper's Figure 3 ends, read off the picture."""
PUBLISHED_SPREAD = {"before": (1.25, 2.15), "after": (1.4, 2.3)}
"""Lowest and highest group mean of the paper's Figure 4, read off the picture."""

_COLOURS = {"before": "#0072B2", "after": "#D55E00"}  # of Okabe and Ito, for every eye
_SIDES = ("before", "after")
_TAIL = 0.9995  # of the norms are shown; the caption counts the rest


def figure3(
    edges: npt.ArrayLike,
    before: npt.ArrayLike,
    after: npt.ArrayLike,
    *,
    title: str = "",
    published: bool = False,
    log: bool = False,
    width: float = COLUMN_WIDTH,
) -> Figure:
    """Draw the paper's Figure 3: how often which norm occurs before and after SGE.

    Args:
        edges: Of the bins, (n + 1,), rising.
        before: Counts before SGE, (n + 2,): underflow first, overflow last.
        after: Counts after SGE, likewise.
        title: Layer, groups, pictures and weights.
        published: Set the published figure's read-off values beside it.
        log: A logarithmic vertical axis.
        width: Inches of the measured part.

    Raises:
        ValueError: The shapes do not fit, or nothing was counted.
    """
    edges = np.asarray(edges, np.float64)
    counts = {"before": np.asarray(before, np.float64), "after": np.asarray(after, np.float64)}
    for side in _SIDES:
        if counts[side].shape != (len(edges) + 1,):
            raise ValueError(f"{len(edges)} edges need {len(edges) + 1} counts {side}.")
        if not counts[side][1:-1].sum():
            raise ValueError(f"No norm {side} SGE lies between {edges[0]:g} and {edges[-1]:g}.")
    end = max(_quantile_edge(edges, counts[side]) for side in _SIDES)
    with figure_style():
        figure, axes, beside = _sheet(title, width, 2.5, published)
        for side in _SIDES:
            density = counts[side][1:-1] / np.diff(edges) / counts[side].sum()
            place = int(density.argmax())
            label = f"{side} SGE, peak near {(edges[place] + edges[place + 1]) / 2:.2g}"
            axes.stairs(density, edges, color=_COLOURS[side], fill=True, alpha=0.35, label=label)
            axes.stairs(density, edges, color=_COLOURS[side], linewidth=0.9)
        if log:
            axes.set_yscale("log")
        _name(axes, "norm of a group's channels at one place", "density")
        axes.set_xlim(0, end)
        axes.legend(frameon=False, fontsize=6.5)
        _note(axes, _outside(edges, counts, end))
        if beside is not None:
            _published_peaks(beside)
    return figure


def figure4(
    mean_before: npt.ArrayLike,
    std_before: npt.ArrayLike,
    mean_after: npt.ArrayLike,
    std_after: npt.ArrayLike,
    *,
    quantity: str = "activation variance",
    title: str = "",
    published: bool = False,
    width: float = TEXT_WIDTH,
) -> Figure:
    """Draw the paper's Figure 4: each group's activation spread, mean and deviation over pictures.

    Args:
        mean_before: Mean over pictures before SGE, (G,).
        std_before: Standard deviation over pictures, (G,), the whiskers.
        mean_after: The same after SGE.
        std_after: The same after SGE.
        quantity: What it is, for the axis: activation variance or standard deviation.
        title: Layer, pictures and weights.
        published: Set the published figure's read-off values beside it.
        width: Inches of the measured part.

    Raises:
        ValueError: The shapes do not fit, or a value is not finite.
    """
    values = {
        "before": (np.asarray(mean_before, np.float64), np.asarray(std_before, np.float64)),
        "after": (np.asarray(mean_after, np.float64), np.asarray(std_after, np.float64)),
    }
    shapes = {array.shape for pair in values.values() for array in pair}
    if len(shapes) > 1 or len(next(iter(shapes))) != 1:
        raise ValueError(f"Means and deviations need one shape (G,), not {sorted(shapes)}.")
    if not all(np.isfinite(array).all() for pair in values.values() for array in pair):
        raise ValueError("Figure 4 needs finite means and deviations.")
    with figure_style():
        figure, axes, beside = _sheet(title, width, 2.6, published)
        for side, shift in (("before", -0.17), ("after", 0.17)):
            mean, std = values[side]
            axes.errorbar(
                np.arange(len(mean)) + shift,
                mean,
                std,
                fmt="o",
                markersize=2,
                linewidth=0.7,
                color=_COLOURS[side],
                label=f"{side} SGE: group means {mean.min():.3g} to {mean.max():.3g}",
            )
        _name(axes, "group, counted from 0 (the paper counts from 1)", quantity)
        axes.set_xlim(-1, len(values["before"][0]))
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False, fontsize=6.5, ncols=2, loc="lower left")
        _note(axes, "Points: mean over pictures; whiskers: standard deviation over pictures.")
        if beside is not None:
            _published_spread(beside)
    return figure


def _sheet(
    title: str, width: float, height: float, published: bool
) -> tuple[Figure, Axes, Axes | None]:
    lines = wrapped(title, width - 0.3, 8)
    part = max(1.6, width * 0.3) if published else 0.0
    figure = Figure(figsize=(width + part, height + 0.15 * len(lines)))
    figure.set_layout_engine("constrained")
    if published:
        axes, beside = figure.subplots(1, 2, width_ratios=(width, part))
    else:
        axes, beside = figure.add_subplot(), None
    axes.set_title("\n".join(lines), fontsize=8, loc="left", parse_math=False)
    return figure, axes, beside


def _name(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x, fontsize=7.5)
    axes.set_ylabel(y, fontsize=7.5)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)


def _note(axes: Axes, text: str) -> None:
    axes.set_xlabel(f"{axes.get_xlabel()}\n{text}", fontsize=7)


def _quantile_edge(edges: Floats, counts: Floats) -> float:
    """Where all but the last few norms end."""
    inside = np.cumsum(counts[:-1]) / counts.sum()
    place = int(np.searchsorted(inside, _TAIL))
    return float(edges[min(place, len(edges) - 1)])


def _outside(edges: Floats, counts: dict[str, Floats], end: float) -> str:
    """Say how much lies beside the picture."""
    beyond = {side: c[1:-1][edges[:-1] >= end].sum() + c[-1] for side, c in counts.items()}
    low = max(c[0] / c.sum() for c in counts.values())
    high = max(beyond[side] / counts[side].sum() for side in counts)
    return f"below {edges[0]:.2g}: {low:.2%}; beyond the axis: {high:.2%}"


def _published_peaks(axes: Axes) -> None:
    axes.set_title("published, read off", fontsize=8, loc="left")
    for side, peak in PUBLISHED_PEAKS.items():
        axes.axvline(peak, color=_COLOURS[side], linewidth=1.2, label=f"{side}: peak near {peak:g}")
    axes.axvline(
        PUBLISHED_TAIL,
        color="#555555",
        linewidth=0.8,
        linestyle=":",
        label=f"tail to about {PUBLISHED_TAIL:g}",
    )
    axes.set_xlim(0, PUBLISHED_TAIL * 1.05)
    axes.set_yticks([])
    _name(axes, "norm", "")
    axes.legend(frameon=False, fontsize=6.5, loc="upper center")


def _published_spread(axes: Axes) -> None:
    axes.set_title("published, read off", fontsize=8, loc="left")
    names: Sequence[str] = _SIDES
    for place, side in enumerate(names):
        low, high = PUBLISHED_SPREAD[side]
        axes.vlines(place, low, high, color=_COLOURS[side], linewidth=6)
        axes.annotate(f"{low:g} to {high:g}", (place, high), ha="center", va="bottom", fontsize=7)
    axes.set_xticks(range(len(names)), names)
    axes.set_xlim(-0.7, 1.7)
    axes.set_ylim(0, 2.7)
    _name(axes, "", "range of the group means")
