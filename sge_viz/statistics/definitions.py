"""What each number and array means, in words and formulas."""

from __future__ import annotations

from sge_viz.statistics.grid import GATE_BINS, NormGrid
from sge_viz.statistics.measures import DEFINITIONS, NAMES
from sge_viz.statistics.settings import Settings

GROUP_INDEX = "group index 0-based; the paper counts from 1"
NORM = "Euclidean norm over a group's channels at one position of one picture"


def measure_definitions(settings: Settings) -> dict[str, str]:
    """Return the definition of every measure of one group in one picture."""
    return {name: text.format(near_zero=settings.near_zero) for name, text in DEFINITIONS.items()}


def grid_text(grid: NormGrid) -> str:
    """Say in words what a grid's bins are."""
    return (
        f"{grid.bins} bins: each octave from 2**{grid.lowest} to 2**{grid.highest} in "
        f"{grid.per_octave} equal bins, each with its lower edge; first underflow, last overflow"
    )


def array_definitions(settings: Settings) -> dict[str, str]:
    """Return the definition of every array of the .npz, below "LAYER/"."""
    fine, coarse = grid_text(settings.grid), grid_text(settings.class_grid)
    return {
        "LAYER/norm_before": f"moments of the {NORM}, before SGE, over all positions of all "
        "pictures, (classes, groups)",
        "LAYER/norm_after": "the same after SGE, before the residual add and the ReLU",
        "LAYER/gate": "moments of the gate over all positions of all pictures, (classes, groups)",
        "LAYER/pictures_before": "moments over pictures of every measure before SGE, (classes, "
        f"measures, groups); measures in the order {', '.join(NAMES)}",
        "LAYER/pictures_after": "the same after SGE",
        "LAYER/joint": "counts of (norm before, norm after) over all positions of all pictures, "
        f"(groups, before, after); grid `edges`: {fine}",
        "LAYER/class_joint": "the same for each class, (classes, groups, before, after); grid "
        f"`class_edges`: {coarse}",
        "LAYER/gates": f"counts of the gate, (classes, groups, {GATE_BINS} equal bins over [0, 1) "
        "with one below and one for 1 and above)",
        "LAYER/bootstrap": "Poisson bootstrap over pictures: `weight` is how many pictures the "
        "sample (first row) and each replicate count, `total` the sums of every measure's mean "
        "over groups, for each condition (SGE, then the controls), before then after",
        ".../count": "number of values",
        ".../mean": "their mean (0 without values)",
        ".../m2": "sum of squared deviations from the mean",
        ".../variance": "m2 / count, the population variance (NaN without values)",
        ".../low, .../high": "smallest and largest value (inf and -inf without values)",
        **{f"measure {name}": text for name, text in measure_definitions(settings).items()},
    }
