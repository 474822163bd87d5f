"""A result in plain values, for JSON: every number beside its definition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sge_viz.statistics.definitions import GROUP_INDEX, NORM, grid_text, measure_definitions
from sge_viz.statistics.grid import gate_edges
from sge_viz.statistics.layer import SIDES, LayerStatistics
from sge_viz.statistics.measures import NAMES
from sge_viz.statistics.moments import Moments
from sge_viz.statistics.result import Result


def report(result: Result) -> dict[str, Any]:
    """Return a result in plain values, fit for JSON (numbers that do not exist are null).

    The joint histograms stay in the .npz; here are their margins.
    """
    return {
        "provenance": result.provenance,
        "settings": result.settings.record(),
        "group_index": GROUP_INDEX,
        "definitions": {
            "norm": f"{NORM}; before: SGE's input (after bn3), after: gate * before, before the "
            "residual add and the ReLU; moments over all positions of all pictures",
            "gate": "SGE's gate; moments over all positions of all pictures",
            "norm_histogram": "counts of the norm; edges: norm_edges; "
            f"{grid_text(result.settings.grid)}",
            "gate_histogram": "counts of the gate; edges: gate_edges; first below 0, last 1 and "
            "above",
            "count, mean, variance, std, min, max": "number of values, their mean, population "
            "variance, its root, smallest and largest value",
            "pictures": "each measure is taken of one group in one picture; here its moments over "
            "pictures (Figure 4: mean and std of activation_variance, and of activation_std)",
            "over_groups": "mean over groups of the measures' means over pictures",
            **measure_definitions(result.settings),
        },
        "norm_edges": result.settings.grid.edges.tolist(),
        "gate_edges": gate_edges().tolist(),
        "layers": {path: _layer(result, path) for path in result.layers},
    }


def _layer(result: Result, path: str) -> dict[str, Any]:
    statistics = result.layers[path]
    classes = result.classes
    return {
        "title": result.title(path),
        "over_groups": {side: _over_groups(statistics.pictures[side].fold()) for side in SIDES},
        "groups": _block(statistics, slice(None), joint=True),
        "classes": {
            name: _block(statistics, slice(index, index + 1)) for index, name in enumerate(classes)
        },
    }


def _over_groups(moments: Moments) -> dict[str, float | None]:
    return dict(zip(NAMES, _numbers(moments.mean.mean(1)), strict=True))


def _block(statistics: LayerStatistics, rows: slice, joint: bool = False) -> dict[str, Any]:
    """Return all numbers of some classes together, a list over groups each."""
    block: dict[str, Any] = {
        "norm_before": _moments(statistics.norm_before[rows].fold()),
        "norm_after": _moments(statistics.norm_after[rows].fold()),
        "gate": _moments(statistics.gate[rows].fold()),
        "gate_histogram": statistics.gates.counts[rows].sum(0).tolist(),
        "pictures": {},
    }
    if joint:
        counts = statistics.joint.counts
        block["norm_histogram"] = {
            "before": counts.sum(2).tolist(),
            "after": counts.sum(1).tolist(),
        }
    for side in SIDES:
        moments = statistics.pictures[side][rows].fold()
        block["pictures"][side] = {
            name: _moments(moments[index]) for index, name in enumerate(NAMES)
        }
    return block


def _moments(moments: Moments) -> dict[str, list[float | None]]:
    return {
        "count": moments.count.tolist(),
        "mean": _numbers(np.where(moments.count > 0, moments.mean, np.nan)),
        "variance": _numbers(moments.variance),
        "std": _numbers(moments.std),
        "min": _numbers(moments.low),
        "max": _numbers(moments.high),
    }


def _numbers(values: np.ndarray) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in np.asarray(values).tolist()]


def summary(result: Result) -> Sequence[str]:
    """Say the main numbers in lines for a terminal."""
    record = result.provenance
    lines = [
        f"{record['counted']} of {record['pictures']} pictures counted, "
        f"{len(record['refused'])} refused."
    ]
    for path, statistics in result.layers.items():
        means = {s: _over_groups(statistics.pictures[s].fold()) for s in SIDES}
        lines.append(f"{result.title(path)}, means over groups and pictures:")
        for name in NAMES:
            before, after = means["before"][name], means["after"][name]
            lines.append(f"  {name:22} {before:10.4g} before {after:10.4g} after")
    return lines
