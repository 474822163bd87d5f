"""Figures of evidence: what every group adds to a logit, where, and what changes without it."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from PIL import Image

from sge_viz.render.annotate import group_name, printable
from sge_viz.render.colour import Floats, finite
from sge_viz.render.figure_files import figure_style, wrapped
from sge_viz.render.overlay import as_image

TEXT_WIDTH = 7.16
"""Inches; both columns of a two-column paper."""

DIVERGING = "coolwarm"
"""Evidence has a sign: blue speaks against the class, red for it, 0 lies in the middle."""

# Okabe and Ito's colours, for every eye.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_OPACITY = 0.65
_SGE, _SHORTCUT, _INK = _COLOURS[1], _COLOURS[0], "#18181b"


def contribution_chart(
    through_sge: npt.ArrayLike,
    through_shortcut: npt.ArrayLike,
    bias: float,
    *,
    name: str,
    layer: str = "",
    checkpoint: str = "",
    width: float = TEXT_WIDTH,
) -> Figure:
    """Draw every group's contribution to one logit, ranked, and how they add up to it.

    Args:
        through_sge: what came through SGE, (G,).
        through_shortcut: what came through the shortcut, (G,).
        bias: the linear layer's bias of the class.
        name: the class.
        layer: the layer, for the title.
        checkpoint: the weights' name, for the title.
        width: inches.

    Raises:
        ValueError: values that are not finite, or arrays that do not match.
    """
    sge, shortcut = finite(through_sge, "through_sge"), finite(through_shortcut, "through_shortcut")
    if sge.ndim != 1 or sge.shape != shortcut.shape:
        raise ValueError("Give one number for each group, for SGE and for the shortcut.")
    total = sge + shortcut
    order = np.argsort(-total, kind="stable")
    places = np.arange(len(order))
    logit = float(bias + total.sum())
    with figure_style():
        figure = Figure(figsize=(width, 3.9), layout="constrained")
        bars, sums = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        _stack(bars, places, sge[order], shortcut[order])
        bars.plot(places, total[order], "_", color=_INK, markersize=5, label="contribution")
        bars.axhline(0, color=_INK, linewidth=0.6)
        bars.set_ylabel("logit")
        bars.legend(frameon=False, ncols=3)
        _running_total(sums, float(bias), total[order], logit)
        sums.set_xticks(places, [str(group) for group in order], rotation=90, fontsize=5)
        sums.set_xlabel("group (counted from 0), largest contribution first")
        sums.set_xlim(-1, len(order))
        title = f"What each group adds to the logit of {name}: {logit:.2f} in all"
        _title(figure, (title, layer, checkpoint), width)
    return figure


def evidence_panels(
    image: Image.Image | npt.ArrayLike,
    maps: npt.ArrayLike,
    groups: Sequence[int],
    *,
    name: str,
    layer: str = "",
    checkpoint: str = "",
    width: float = TEXT_WIDTH,
) -> Figure:
    """Lay the evidence of all groups together, and of some groups, over what the network saw.

    The groups share one scale, which is symmetric about 0; all groups together have their own.

    Args:
        image: what the network saw, a PIL image or (h, w, 3) uint8: maps cover it exactly.
        maps: evidence in logits per position, (G, H, W).
        groups: the groups to draw, counted from 0.
        name: the class.
        layer: the layer, for the title.
        checkpoint: the weights' name, for the title.
        width: inches.

    Raises:
        ValueError: maps that are not finite or not (G, H, W), no group, or one that is not there.
    """
    values = finite(maps, "maps")
    if values.ndim != 3 or not groups or not all(0 <= g < len(values) for g in groups):
        raise ValueError("Give (G, H, W) maps, and at least one group that is among them.")
    chosen = values[list(groups)]
    picture = as_image(image)
    together = float(np.abs(values.sum(0)).max())
    each = float(np.abs(chosen).max())
    panels = [(f"all groups: {values.sum():+.2f}", values.sum(0), together)]
    panels += [
        (f"{group_name(group)}: {one.sum():+.2f}", one, each)
        for group, one in zip(groups, chosen, strict=True)
    ]
    columns = min(4, 1 + len(panels))
    rows = -(-(1 + len(panels)) // columns)
    side = width / columns * picture.height / picture.width
    with figure_style():
        figure = Figure(figsize=(width, rows * (side + 0.3) + 1.0), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for one in axes:
            one.set_axis_off()
        axes[0].imshow(picture)
        axes[0].set_title("what the network saw\n", fontsize=7)
        for one, (text, evidence, limit) in zip(axes[1:], panels, strict=False):
            _overlay(one, picture, evidence, limit or 1.0)
            one.set_title(f"{text}\nscale \N{PLUS-MINUS SIGN}{limit:.2g}", fontsize=7)
        key = figure.colorbar(
            ScalarMappable(Normalize(-1, 1), DIVERGING),
            ax=list(axes),
            location="bottom",
            aspect=60,
            shrink=0.6,
            alpha=_OPACITY,
        )
        key.set_ticks([-1, 0, 1], labels=["against: low end of the scale", "0", "for: high end"])
        key.ax.tick_params(labelsize=7)
        _title(figure, (f"Evidence for {name}, in logits per cell", layer, checkpoint), width)
    return figure


def answer_chart(
    classes: Sequence[str],
    before: npt.ArrayLike,
    after: Mapping[str, npt.ArrayLike],
    *,
    checkpoint: str = "",
    width: float = TEXT_WIDTH,
) -> Figure:
    """Draw probabilities before and after interventions.

    Args:
        classes: names of K classes.
        before: their probabilities, (K,).
        after: the same by intervention.
        checkpoint: the weights' name, for the title.
        width: inches.
    """
    bars = {"as it is": finite(before, "before")}
    bars |= {text: finite(values, text) for text, values in after.items()}
    height = 0.8 / len(bars)
    with figure_style():
        figure = Figure(figsize=(width, 1.2 + 0.16 * len(classes) * len(bars)))
        figure.set_layout_engine("constrained")
        axes = figure.add_subplot()
        for number, (text, values) in enumerate(bars.items()):
            places = np.arange(len(classes)) + (number - (len(bars) - 1) / 2) * height
            colour = _INK if number == 0 else _COLOURS[(number - 1) % len(_COLOURS)]
            axes.barh(places, values, height, color=colour, label=text)
        axes.set_yticks(np.arange(len(classes)), [printable(name) for name in classes])
        axes.invert_yaxis()
        axes.set_xlabel("probability")
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(frameon=False, loc="outside lower left", fontsize=7)
        _title(figure, ("Probabilities before and after", checkpoint), width)
    return figure


def faithfulness_chart(
    curves: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float], float]]],
    *,
    name: str,
    checkpoint: str = "",
    width: float = TEXT_WIDTH,
) -> Figure:
    """Draw curves of a class's probability against the share of pixels taken.

    Args:
        curves: by panel ("deletion", "insertion", ...) and map: shares, probabilities, and the
            number that goes into the legend.
        name: the class.
        checkpoint: the weights' name, for the title.
        width: inches.
    """
    with figure_style():
        figure = Figure(figsize=(width, 3.4), layout="constrained")
        for axes, (panel, lines) in zip(
            figure.subplots(1, len(curves), squeeze=False)[0], curves.items(), strict=True
        ):
            for number, (text, (shares, probabilities, score)) in enumerate(lines.items()):
                colour = _COLOURS[number % len(_COLOURS)]
                line = f"{score:.3f}  {text}"
                # Every other line is dashed: maps that rank alike lie on one another.
                style = ".--" if number % 2 else ".-"
                axes.plot(shares, probabilities, style, color=colour, label=line, markersize=3)
            axes.set_title(panel, fontsize=8)
            axes.set_xlabel("share of the pixels")
            axes.axhline(0, color=_INK, linewidth=0.6)
            axes.spines[["top", "right"]].set_visible(False)
            axes.legend(frameon=False, fontsize=6, loc="upper center", bbox_to_anchor=(0.5, -0.22))
        _title(figure, (f"Probability of {name} as pixels are taken", checkpoint), width)
    return figure


def interval_chart(
    table: Mapping[str, Mapping[str, tuple[float, float | None, float | None]]],
    *,
    what: str,
    checkpoint: str = "",
    width: float = TEXT_WIDTH,
) -> Figure:
    """Draw means with their confidence intervals.

    Args:
        table: by measure and map: the mean and both ends of its interval (None where there is no
            interval).
        what: such as "95% confidence, 40 pictures", for the title.
        checkpoint: the weights' name, for the title.
        width: inches.
    """
    with figure_style():
        count = max(len(rows) for rows in table.values())
        figure = Figure(figsize=(width, 1.2 + 0.22 * count), layout="constrained")
        for axes, (measure, rows) in zip(
            figure.subplots(1, len(table), squeeze=False, sharey=True)[0],
            table.items(),
            strict=True,
        ):
            for place, (mean, low, high) in enumerate(rows.values()):
                axes.plot(mean, place, "o", color=_INK, markersize=3)
                if low is not None and high is not None:
                    axes.plot([low, high], [place, place], color=_INK, linewidth=1)
            axes.set_yticks(range(len(rows)), list(rows))
            axes.set_title(measure, fontsize=8)
            axes.spines[["top", "right"]].set_visible(False)
        figure.axes[0].invert_yaxis()
        _title(figure, (f"Faithfulness: {what}", checkpoint), width)
    return figure


def _stack(axes: Axes, places: npt.NDArray[np.int_], sge: Floats, shortcut: Floats) -> None:
    """Stack two signed parts: what is positive upwards, what is negative downwards."""
    same = np.sign(sge) == np.sign(shortcut)
    axes.bar(places, sge, 0.8, color=_SGE, label="through SGE")
    bottom = np.where(same, sge, 0.0)
    axes.bar(places, shortcut, 0.8, bottom=bottom, color=_SHORTCUT, label="through the shortcut")
    axes.spines[["top", "right"]].set_visible(False)


def _running_total(axes: Axes, bias: float, ranked: Floats, logit: float) -> None:
    sums = bias + np.cumsum(ranked)
    axes.stairs(sums, np.arange(len(sums) + 1) - 0.5, baseline=None, color=_INK)
    axes.axhline(logit, color=_COLOURS[2], linestyle="--", linewidth=1, label=f"logit {logit:.2f}")
    axes.axhline(bias, color="#71717a", linestyle=":", linewidth=1, label=f"bias {bias:+.2f}")
    axes.set_ylabel("bias + sum so far")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, ncols=2, loc="lower center")


def _overlay(axes: Axes, picture: Image.Image, values: Floats, limit: float) -> None:
    """Draw a signed map in cells over the grey picture."""
    extent = (0, picture.width, picture.height, 0)
    axes.imshow(picture.convert("L"), cmap="gray", vmin=0, vmax=255, extent=extent)
    axes.imshow(
        values,
        cmap=DIVERGING,
        vmin=-limit,
        vmax=limit,
        alpha=_OPACITY,
        interpolation="nearest",
        extent=extent,
    )


def _title(figure: Figure, parts: Sequence[str], width: float) -> None:
    lines = [line for part in parts for line in wrapped(part, width - 0.4, 8)]
    figure.suptitle("\n".join(lines), fontsize=8, x=0.01, ha="left", parse_math=False)
