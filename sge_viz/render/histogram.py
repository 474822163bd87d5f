"""The paper's Figure 3 for one picture: how often which norm occurs before and after SGE."""

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sge_viz.render.annotate import group_name
from sge_viz.render.colour import Floats, finite
from sge_viz.render.figure_files import figure_style, wrapped

COLUMN_WIDTH = 3.5
"""Inches; one column of a two-column paper."""

_BEFORE, _AFTER = "#0072B2", "#D55E00"  # blue and vermilion of Okabe and Ito, for every eye


def norm_histogram(
    before: npt.ArrayLike,
    after: npt.ArrayLike | None = None,
    *,
    group: int | None = None,
    layer: str = "",
    checkpoint: str = "",
    bins: int | None = None,
    density: bool = False,
    log: bool = False,
    mark: str = "median",
    width: float = COLUMN_WIDTH,
) -> Figure:
    """Draw the paper's Figure 3 for one picture: how often which norm occurs before and after SGE.

    Both histograms have the same bins, from the lowest to the highest value of the two.

    Args:
        before: norms before SGE, any shape: one group's map (H, W) or all groups' (G, H, W).
        after: norms after SGE, any shape; None where there is no SGE.
        group: which group it is, counted from 0, for the title; None for all groups of the layer.
        layer: the layer in its two names, for the title.
        checkpoint: the weights' name, for the title.
        bins: how many; None takes twice the cube root of the number of values, 10 to 80.
        density: True makes each histogram's area 1, False counts.
        log: True for a logarithmic vertical axis.
        mark: "median" or "mean", drawn as a dashed line with its number in the legend.
        width: inches.

    Raises:
        ValueError: no values, values that are not finite, fewer than one bin, an unknown mark.
    """
    if mark not in ("median", "mean"):
        raise ValueError(f"Unknown mark {mark!r}; choose 'median' or 'mean'.")
    kinds = [("before SGE" if after is not None else "norm", _flat(before, "before"), _BEFORE)]
    if after is not None:
        kinds.append(("after SGE", _flat(after, "after"), _AFTER))
    edges = _bin_edges([values for _, values, _ in kinds], bins)
    what = _subject(np.shape(before), group)
    title = "\n".join(
        line
        for part in (", ".join(filter(None, (what, layer))), checkpoint)
        for line in wrapped(part, width - 0.4, 8)
    )
    with figure_style():
        figure = Figure(figsize=(width, 2.0 + 0.15 * width + 0.15 * title.count("\n")))
        figure.set_layout_engine("constrained")
        axes = figure.add_subplot()
        for name, values, colour in kinds:
            _draw_histogram(axes, name, values, edges, colour=colour, density=density, mark=mark)
        if log:
            axes.set_yscale("log")
        elif not density:
            axes.yaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        axes.set_xlabel("norm of a group's channels at one place")
        axes.set_ylabel("density" if density else "number of places")
        axes.set_title(title, fontsize=8, loc="left", parse_math=False)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    return figure


def _subject(shape: tuple[int, ...], group: int | None) -> str:
    if group is not None:
        return group_name(group)
    return f"all {shape[0]} groups" if len(shape) == 3 else "all groups"


def _flat(values: npt.ArrayLike, name: str) -> Floats:
    array = finite(values, name).ravel()
    if array.size == 0:
        raise ValueError(f"{name!r} holds no values; there is nothing to count.")
    return array


def _bin_edges(values: list[Floats], bins: int | None) -> Floats:
    if bins is not None and bins < 1:
        raise ValueError(f"A histogram can't have {bins} bins; give 1 or more.")
    count = bins or int(np.clip(np.ceil(2 * np.cbrt(values[0].size)), 10, 80))
    low = min(float(array.min()) for array in values)
    high = max(float(array.max()) for array in values)
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        # a constant: a range around it, wide enough for bins of some width, one in the middle
        count |= 1
        low, high = low - max(0.5, 0.1 * abs(low)), high + max(0.5, 0.1 * abs(high))
    return np.linspace(low, high, count + 1)


def _draw_histogram(
    axes: Axes, name: str, values: Floats, edges: Floats, *, colour: str, density: bool, mark: str
) -> None:
    heights, _ = np.histogram(values, edges, density=density)
    middle = float(np.median(values) if mark == "median" else np.mean(values))
    axes.stairs(heights, edges, fill=True, color=colour, alpha=0.35)
    axes.stairs(heights, edges, color=colour, linewidth=1.0, label=name)
    axes.axvline(middle, color=colour, linewidth=1.2, linestyle="--", label=f"{mark} {middle:#.3g}")
