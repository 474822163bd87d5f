"""The paper's claims, each under several definitions, against three controls.

A definition supports a claim if SGE changes its value in the claimed direction (the confidence
interval of the change says so) and changes it further than both controls of the gate do: the gate
shuffled over positions, which has the same values but does not fit the picture, and the gate
replaced by its mean, which only shrinks. The third control, channels dealt to groups at random,
tells whether the change is special to the learned groups; it does not decide the verdict.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import numpy as np

from sge_viz.statistics.bootstrap import interval
from sge_viz.statistics.layer import POOLED, SIDES, LayerStatistics, columns
from sge_viz.statistics.measures import NAMES
from sge_viz.statistics.moments import Floats
from sge_viz.statistics.result import Result
from sge_viz.statistics.settings import CONTROLS

KEPT = 0.9
"""The part of its norm that a strong activation must keep to count as kept."""

ROUNDING = 1e-6
"""Relative changes up to this are float32's rounding, not SGE's doing."""

Means = Callable[[str], Floats]

CONTROL_SENTENCES = {
    "shuffled": "the gate shuffled over positions",
    "averaged": "the gate replaced by its mean",
    "regrouped": "SGE on channels dealt to the groups at random",
}


@dataclass(frozen=True)
class Definition:
    """One way to put a claim into numbers.

    Attributes:
        name: Short name.
        kind: "absolute", or "scale-free" if it stays the same when all norms shrink alike.
        formula: In the notation of `measures`; E is the mean over groups and pictures.
        value: Its value from the means of all measures over groups and pictures.
        sign: 1 if the claim says that it rises, -1 if it says that it falls.
        margin: How far the change may lie on the other side and still hold.
        measure: The measure it is the mean of, if it is one.
    """

    name: str
    kind: str
    formula: str
    value: Callable[[Means], Floats]
    sign: int = 1
    margin: float = 0.0
    measure: str | None = None

    @property
    def claimed(self) -> str:
        """What the claim says of the value."""
        if self.margin:
            return "is kept"
        return "rises" if self.sign > 0 else "falls"


def _mean(name: str, kind: str, measure: str, formula: str, sign: int = 1) -> Definition:
    return Definition(name, kind, formula, lambda mean: mean(measure), sign, measure=measure)


def _pooled_variance(mean: Means) -> Floats:
    return np.maximum(mean(POOLED) - np.square(mean("mean_norm")), 0)


def _pooled_cv(mean: Means) -> Floats:
    return _divide(np.sqrt(_pooled_variance(mean)), mean("mean_norm"))


def _kept_beside_all(mean: Means) -> Floats:
    return _divide(mean("strong_norm"), mean("mean_norm"))


def _divide(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


ABSOLUTE, FREE = "absolute", "scale-free"

CLAIMS: dict[str, tuple[Definition, ...]] = {
    "larger variance": (
        _mean("activation variance", ABSOLUTE, "activation_variance", "E[Var over c, p of y_cp]"),
        _mean("norm variance in a map", ABSOLUTE, "norm_variance", "E[Var over p of n_p]"),
        Definition("norm variance pooled", ABSOLUTE, "E[n^2] - E[n]^2", _pooled_variance),
        _mean("coefficient of variation in a map", FREE, "norm_cv", "E[std(n_p) / mean(n_p)]"),
        Definition(
            "coefficient of variation pooled", FREE, "sqrt(E[n^2] - E[n]^2) / E[n]", _pooled_cv
        ),
        _mean(
            "strongest tenth's share of the total", FREE, "strong_share", "E[sum_S n_p / sum n_p]"
        ),
    ),
    "strong activations kept": (
        Definition(
            "norm kept by the strongest tenth",
            ABSOLUTE,
            f"E[sum_S n_p / sum_S n_p before], kept means at least {KEPT}",
            lambda mean: mean("strong_kept"),
            margin=1 - KEPT,
            measure="strong_kept",
        ),
        Definition(
            "strongest tenth beside the mean", FREE, "E[mean_S n_p] / E[n_p]", _kept_beside_all
        ),
    ),
    # Norms below one fixed threshold are no definition: any gate below 1 makes more of them, most
    # of all one that crushes the strong.
    "weak activations shifted toward zero": (
        _mean("weakest tenth's norm", ABSOLUTE, "weak_norm", "E[mean_W n_p]", -1),
        _mean(
            "norm kept by the weakest tenth",
            ABSOLUTE,
            "weak_kept",
            "E[sum_W n_p / sum_W n_p before]",
            -1,
        ),
        _mean(
            "weakest tenth's share of the total", FREE, "weak_share", "E[sum_W n_p / sum n_p]", -1
        ),
        _mean(
            "near-zero norms, own threshold",
            FREE,
            "near_zero_own",
            "E[share of n_p <= t * mean(n_p)]",
        ),
    ),
}
NOTATION = (
    "y: the values of a group, c its channels, p positions, n_p the norm of y_p; S and W: the "
    "strongest and weakest tenth of the positions by the norm before SGE; t: {near_zero}; E: mean "
    "over groups and pictures (over positions too for n)"
)


class Outcome(Enum):
    """What one definition says of its claim."""

    SUPPORTED = "supported"
    NOT_BEYOND = "not beyond the controls"
    UNDECIDED = "no clear change"
    OPPOSITE = "the opposite"


@dataclass(frozen=True)
class Estimate:
    """A value with the interval that 95% of the bootstrap replicates lie in."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, replicates: Floats) -> Estimate:
        """Read the sample (first) and its replicates."""
        return cls(float(replicates[0]), *interval(replicates))

    def __str__(self) -> str:
        return f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}]"


@dataclass(frozen=True)
class Change:
    """A definition's value before and after, under SGE or a control.

    Attributes:
        before: Without the gate.
        after: With it.
        change: after - before, picture by picture.
        excess: SGE's change less this control's; None for SGE itself.
    """

    before: Estimate
    after: Estimate
    change: Estimate
    excess: Estimate | None = None


@dataclass(frozen=True)
class Finding:
    """One definition in one layer.

    Attributes:
        definition: The definition.
        sge: What SGE does.
        controls: What the controls do, by name.
        outcome: What it says of the claim.
        specific: Whether it goes further than with channels grouped at random.
        groups: In how many groups the mean over pictures changes as claimed, and of how many;
            None where the definition is no mean over groups.
    """

    definition: Definition
    sge: Change
    controls: dict[str, Change]
    outcome: Outcome
    specific: bool
    groups: tuple[int, int] | None


@dataclass(frozen=True)
class Verdict:
    """A claim in one layer.

    Attributes:
        claim: The claim in the paper's words.
        findings: Each definition's finding.
        word: "supported", "not supported" or "depends on the definition".
    """

    claim: str
    findings: tuple[Finding, ...]
    word: str


def audit(result: Result, layer: str | None = None) -> tuple[Verdict, ...]:
    """Judge the paper's claims in one layer of a result (the last one for None).

    Raises:
        ValueError: The layer is not there, or the controls were not taken.
    """
    _, statistics = result.layer(layer)
    return judge(statistics)


def judge(statistics: LayerStatistics) -> tuple[Verdict, ...]:
    """Judge the paper's claims from one layer's statistics.

    Raises:
        ValueError: The controls were not taken, or there is no picture.
    """
    if not statistics.settings.controls:
        raise ValueError(
            "This result was taken without the controls: run `stats` again without --no-controls."
        )
    if not statistics.bootstrap.weight[0]:
        raise ValueError("There is no picture in this result.")
    verdicts = []
    for claim, definitions in CLAIMS.items():
        findings = tuple(_find(definition, statistics) for definition in definitions)
        verdicts.append(Verdict(claim, findings, _word(findings)))
    return tuple(verdicts)


def _word(findings: tuple[Finding, ...]) -> str:
    supported = [finding.outcome is Outcome.SUPPORTED for finding in findings]
    if all(supported):
        return "supported"
    return "depends on the definition" if any(supported) else "not supported"


def _find(definition: Definition, statistics: LayerStatistics) -> Finding:
    table = statistics.bootstrap.means()
    column = {key: index for index, key in enumerate(columns(statistics.settings))}

    def side(condition: str, name: str) -> Floats:
        return definition.value(lambda measure: table[:, column[condition, name, measure]])

    values = {c: [side(c, name) for name in SIDES] for c in ("sge", *CONTROLS)}
    change = {c: after - before for c, (before, after) in values.items()}

    def compare(condition: str) -> Change:
        before, after = (Estimate.of(value) for value in values[condition])
        excess = Estimate.of(change["sge"] - change[condition]) if condition != "sge" else None
        return Change(before, after, Estimate.of(change[condition]), excess)

    sge, controls = compare("sge"), {c: compare(c) for c in CONTROLS}
    tolerance = ROUNDING * max(abs(sge.before.value), abs(sge.after.value))
    beyond = {c: _clear(controls[c].excess, definition.sign, tolerance) == 1 for c in CONTROLS}
    outcome = {1: Outcome.SUPPORTED, 0: Outcome.UNDECIDED, -1: Outcome.OPPOSITE}[
        _clear(sge.change, definition.sign, tolerance, definition.margin)
    ]
    if outcome is Outcome.SUPPORTED and not (beyond["shuffled"] and beyond["averaged"]):
        outcome = Outcome.NOT_BEYOND
    return Finding(
        definition, sge, controls, outcome, beyond["regrouped"], _agreeing(definition, statistics)
    )


def _clear(change: Estimate | None, sign: int, tolerance: float, margin: float = 0.0) -> int:
    """Return 1 for a clear change as claimed, -1 for a clear one against the claim, or 0."""
    assert change is not None
    low, high = sorted((sign * change.low, sign * change.high))
    return int(low + margin > tolerance) - int(high + margin < -tolerance)


def _agreeing(definition: Definition, statistics: LayerStatistics) -> tuple[int, int] | None:
    if definition.measure is None:
        return None
    row = NAMES.index(definition.measure)
    before, after = (statistics.pictures[s].fold().mean[row] for s in SIDES)
    agree = definition.sign * (after - before) + definition.margin > 0
    return int(agree.sum()), len(agree)
