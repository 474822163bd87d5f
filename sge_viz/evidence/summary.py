"""Faithfulness over many pictures: means with bootstrap confidence intervals."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sge_viz.evidence.faithfulness import Faithfulness


@dataclass(frozen=True)
class Interval:
    """A mean and the interval that holds it.

    Attributes:
        mean: Mean over the pictures.
        low: Lower end; None for fewer than two pictures.
        high: Upper end; None for fewer than two pictures.
        pictures: How many pictures.
        confidence: Such as 0.95.
    """

    mean: float
    low: float | None
    high: float | None
    pictures: int
    confidence: float


def interval(
    values: Sequence[float], *, confidence: float = 0.95, resamples: int = 9999, seed: int = 0
) -> Interval:
    """Return the mean with its percentile bootstrap interval (Efron and Tibshirani 1993, ch. 13).

    Args:
        values: One number a picture.
        confidence: Share of the intervals that would hold the true mean.
        resamples: Number of resamples.
        seed: Of the resampling.

    Raises:
        ValueError: If there is no value.
    """
    if not values:
        raise ValueError("There is nothing to take a mean of: give at least one picture.")
    mean = float(np.mean(values))
    if len(values) < 2:
        return Interval(mean, None, None, len(values), confidence)
    from scipy.stats import bootstrap  # type: ignore[import-untyped]  # noqa: PLC0415  # slow

    found = bootstrap(
        (values,),
        np.mean,
        n_resamples=resamples,
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(mean, float(found.low), float(found.high), len(values), confidence)


def summarise(
    results: Iterable[Mapping[str, Faithfulness]], *, confidence: float = 0.95, seed: int = 0
) -> dict[str, dict[str, Interval]]:
    """Summarise many pictures' results by map and measure.

    Args:
        results: What `faithfulness` gave, one mapping a picture.
        confidence: Of the intervals.
        seed: Of the resampling.

    Returns:
        For every map that any picture has: "deletion", "insertion" and "road".
    """
    table: dict[str, dict[str, list[float]]] = {}
    for result in results:
        for name, one in result.items():
            for measure, value in one.measures.items():
                table.setdefault(name, {}).setdefault(measure, []).append(value)
    return {
        name: {
            measure: interval(values, confidence=confidence, seed=seed)
            for measure, values in measures.items()
        }
        for name, measures in table.items()
    }
