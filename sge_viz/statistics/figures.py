"""The paper's Figures 3 and 4 of a result."""

from __future__ import annotations

from matplotlib.figure import Figure

from sge_viz.render.annotate import group_name
from sge_viz.render.dataset_figures import COLUMN_WIDTH, TEXT_WIDTH, figure3, figure4
from sge_viz.statistics.measures import NAMES
from sge_viz.statistics.result import Result

QUANTITIES = {"variance": "activation_variance", "std": "activation_std"}
_WORDS = {"variance": "activation variance", "std": "activation standard deviation"}


def figure3_of(
    result: Result,
    layer: str | None = None,
    group: int | None = None,
    *,
    log: bool = False,
    width: float | None = None,
) -> Figure:
    """Draw the histogram of norms before and after SGE over the data set.

    Args:
        result: Of `stats`.
        layer: Module path; the last layer for None.
        group: Counted from 0; all groups together for None.
        log: A logarithmic vertical axis.
        width: Inches.

    Raises:
        ValueError: There is no such layer or group.
    """
    path, statistics = result.layer(layer)
    if group is not None and not 0 <= group < statistics.groups:
        raise ValueError(f"There is no group {group}: groups go from 0 to {statistics.groups - 1}.")
    counts = statistics.joint.counts
    counts = counts.sum(0) if group is None else counts[group]
    subject = f"all {statistics.groups} groups" if group is None else group_name(group)
    return figure3(
        result.settings.grid.edges,
        counts.sum(1),
        counts.sum(0),
        title=f"{subject}, {_subject(result, path)}",
        published=result.published,
        log=log,
        width=width or COLUMN_WIDTH,
    )


def figure4_of(
    result: Result,
    layer: str | None = None,
    quantity: str = "variance",
    *,
    width: float | None = None,
) -> Figure:
    """Draw every group's activation spread before and after SGE, over pictures.

    Args:
        result: Of `stats`.
        layer: Module path; the last layer for None.
        quantity: "variance" or "std": the paper's may be either.
        width: Inches.

    Raises:
        ValueError: There is no such layer or quantity.
    """
    if quantity not in QUANTITIES:
        raise ValueError(f"There is no quantity {quantity!r}: choose {', '.join(QUANTITIES)}.")
    path, statistics = result.layer(layer)
    row = NAMES.index(QUANTITIES[quantity])
    before, after = (statistics.pictures[side].fold()[row] for side in ("before", "after"))
    return figure4(
        before.mean,
        before.std,
        after.mean,
        after.std,
        quantity=_WORDS[quantity],
        title=_subject(result, path),
        published=result.published,
        width=width or TEXT_WIDTH,
    )


def _subject(result: Result, path: str) -> str:
    record = result.provenance
    checkpoint = record["checkpoint"] or {}
    weights = checkpoint.get("title") or f"weights {record['weights_sha256'][:12]}"
    return f"{result.title(path)}, {record['counted']} pictures, {weights}"
