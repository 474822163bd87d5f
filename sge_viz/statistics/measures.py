"""What is measured of one group in one picture, before SGE and after it.

Notation of the definitions: n_p is a group's norm at position p of P; before SGE, after it, or
under a control. Strong and weak positions are chosen by the norms *before* SGE, so that both sides
speak of the same places.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sge_viz.statistics.moments import Floats
from sge_viz.statistics.signals import Signals

DEFINITIONS = {
    "mean_norm": "mean over positions of n_p",
    "norm_variance": "population variance of n_p over the positions of one map",
    "norm_cv": "coefficient of variation: sqrt(norm_variance) / mean_norm (0 for an all-zero map)",
    "activation_variance": "population variance of the values themselves, over all channels of the "
    "group and all positions of one picture",
    "activation_std": "sqrt(activation_variance)",
    "strong_norm": "mean of n_p over the strong positions: those with a norm before SGE of at "
    "least the ceil(P/10)-th largest (ties belong to them)",
    "strong_share": "sum of n_p over the strong positions / sum over all (their part of the "
    "positions for an all-zero map)",
    "strong_kept": "sum of n_p over the strong positions / the same sum before SGE (1 where that "
    "is 0): the share of its norm that the top decile keeps",
    "weak_norm": "mean of n_p over the weak positions: those with a norm before SGE of at most "
    "the ceil(P/10)-th smallest (ties belong to them)",
    "weak_share": "sum of n_p over the weak positions / sum over all (their part of the positions "
    "for an all-zero map)",
    "weak_kept": "sum of n_p over the weak positions / the same sum before SGE (1 where that is 0)",
    "all_kept": "sum of n_p over all positions / the same sum before SGE (1 where that is 0)",
    "near_zero": "share of positions with n_p <= {near_zero} * mean norm of the map BEFORE SGE: "
    "one threshold for both sides",
    "near_zero_own": "share of positions with n_p <= {near_zero} * the map's own mean norm: the "
    "threshold shrinks with the map",
}
NAMES = tuple(DEFINITIONS)
_CACHED = 2**17  # values at once, so that a dozen passes over them stay in the cache


@dataclass(frozen=True, eq=False)
class Measured:
    """Every measure of every group in every picture of a batch, (B, len(NAMES), G) float64."""

    before: Floats
    after: Floats


@dataclass(frozen=True, eq=False)
class _Reference:
    """What is settled before SGE: strong and weak positions, and the norms there."""

    strong: Tensor
    weak: Tensor
    strong_count: Tensor
    weak_count: Tensor
    mean: Tensor

    @classmethod
    def of(cls, norms: Tensor) -> _Reference:
        array, cells = norms.numpy(), norms.shape[-1]
        tenth = -(-cells // 10)
        high = np.partition(array, cells - tenth, axis=-1)[..., cells - tenth, None]
        low = np.partition(array, tenth - 1, axis=-1)[..., tenth - 1, None]
        strong, weak = torch.from_numpy(array >= high), torch.from_numpy(array <= low)
        mean = norms.mean(-1, dtype=torch.float64)
        return cls(strong, weak, strong.sum(-1).double(), weak.sum(-1).double(), mean)


def measure(signals: Signals, near_zero: float) -> Measured:
    """Measure every group of a batch before and after the gate.

    Args:
        signals: One layer of a batch, on the CPU.
        near_zero: Which part of a map's mean norm still counts as near zero.
    """
    maps = [t.flatten(2) for t in (signals.norms, signals.sums, signals.gate)]
    some = max(1, _CACHED // maps[0][0].numel())
    parts = [
        _measure_some(norms, sums, gate, signals.channels, near_zero)
        for norms, sums, gate in zip(*(torch.split(t, some) for t in maps), strict=True)
    ]
    return Measured(*(np.concatenate(side) for side in zip(*parts, strict=True)))


def _measure_some(
    norms: Tensor, sums: Tensor, gate: Tensor, channels: int, near_zero: float
) -> tuple[Floats, Floats]:
    reference = _Reference.of(norms)
    before = _measure(norms, sums, channels, near_zero, reference)
    after = _measure(gate.abs() * norms, gate * sums, channels, near_zero, reference)
    for side in (after, before):
        for name, of in (("strong", "strong"), ("weak", "weak"), ("all", "mean")):
            there = before[f"{of}_norm"]
            side[f"{name}_kept"] = _ratio(side[f"{of}_norm"], there, torch.ones_like(there))
    return _stack(before), _stack(after)


def _stack(side: dict[str, Tensor]) -> Floats:
    stacked: Floats = torch.stack([side[name] for name in NAMES], 1).numpy()
    return stacked


def _measure(
    norms: Tensor, sums: Tensor, channels: int, near_zero: float, reference: _Reference
) -> dict[str, Tensor]:
    cells = norms.shape[-1]
    mean = norms.mean(-1, dtype=torch.float64)
    variance = (norms - mean[..., None]).square_().mean(-1)
    activation_mean = sums.mean(-1, dtype=torch.float64) / channels
    activation_square = (variance + mean.square()) / channels
    activation_variance = (activation_square - activation_mean.square()).clamp_min(0)
    strong = (norms * reference.strong).sum(-1, dtype=torch.float64)
    weak = (norms * reference.weak).sum(-1, dtype=torch.float64)
    near = norms <= (near_zero * reference.mean)[..., None]
    own = norms <= (near_zero * mean)[..., None]
    return {
        "mean_norm": mean,
        "norm_variance": variance,
        "norm_cv": _ratio(variance.sqrt(), mean, torch.zeros_like(mean)),
        "activation_variance": activation_variance,
        "activation_std": activation_variance.sqrt(),
        "strong_norm": strong / reference.strong_count,
        "strong_share": _ratio(strong, mean * cells, reference.strong_count / cells),
        "weak_norm": weak / reference.weak_count,
        "weak_share": _ratio(weak, mean * cells, reference.weak_count / cells),
        "near_zero": near.sum(-1).double() / cells,
        "near_zero_own": own.sum(-1).double() / cells,
    }


def _ratio(part: Tensor, whole: Tensor, otherwise: Tensor) -> Tensor:
    return torch.where(whole > 0, part / whole, otherwise)
