"""What statistics keep of a layer in one forward pass: three maps a group, for SGE and controls."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sge_viz.capture import Reading, group_norms
from sge_viz.sge import spatial_gate

Orders = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Signals:
    """One layer's feature maps, reduced over the channels of each group.

    Norms, sums and the gate are all that is needed: what SGE gives is gate * x, so its norms are
    ``|gate| * norms`` and its sums ``gate * sums``.

    Attributes:
        norms: Euclidean norms over a group's channels, (B, G, H, W) float32.
        sums: Sums over a group's channels, likewise.
        gate: SGE's gate, likewise.
        channels: Channels of one group.
    """

    norms: Tensor
    sums: Tensor
    gate: Tensor
    channels: int

    @property
    def after(self) -> Tensor:
        """Norms after SGE, (B, G, H, W) float32."""
        return self.gate.abs() * self.norms

    def cpu(self) -> Signals:
        """Return the same on the CPU."""
        return replace(self, norms=self.norms.cpu(), sums=self.sums.cpu(), gate=self.gate.cpu())

    def shuffled(self, orders: Orders) -> Signals:
        """Return a control: the gate's positions are shuffled, so it no longer fits the picture.

        Args:
            orders: For each picture a permutation of its positions, (B, H * W).
        """
        places = torch.from_numpy(orders)[:, None, :]
        gate = self.gate.flatten(2).take_along_dim(places, 2).view_as(self.gate)
        return replace(self, gate=gate)

    def averaged(self) -> Signals:
        """Return a control: the gate is its mean over the positions, so it only shrinks."""
        return replace(self, gate=self.gate.mean((2, 3), keepdim=True).expand_as(self.gate))


def signals(x: Tensor, gate: Tensor, groups: int, layer: str = "the layer") -> Signals:
    """Reduce a feature map (B, C, H, W) and its gate (B, G, H, W), on their device."""
    norms = group_norms(x, groups, layer).float()
    sums = x.view(len(x), groups, -1, *x.shape[2:]).sum(2, dtype=torch.float32)
    gate = gate.detach().to(torch.float32, copy=True).expand_as(norms)
    return Signals(norms, sums, gate, x.shape[1] // groups)


def of_reading(reading: Reading) -> Signals:
    """Reduce what `watch` hands over.

    Raises:
        ValueError: The layer has no SGE.
    """
    if reading.sge is None or reading.gate is None:
        raise ValueError(f"{reading.layer} has no SGE: this compares a layer before and after SGE.")
    return signals(reading.x, reading.gate, reading.sge.groups, reading.layer)


def regrouped(reading: Reading, orders: Orders) -> Signals:
    """Reduce a control: channels are dealt to the groups at random, then gated by SGE's formula.

    Args:
        reading: A layer with SGE.
        orders: For each picture a permutation of the channels, (B, C).
    """
    assert reading.sge is not None
    sge, x = reading.sge, reading.x
    batch, channels, height, width = x.shape
    rows = torch.from_numpy(orders + np.arange(batch)[:, None] * channels).to(x.device)
    maps = x.reshape(batch * channels, height * width).index_select(0, rows.flatten())
    mixed = maps.view(batch, channels, height, width)
    gate = spatial_gate(mixed, sge.weight, sge.bias, sge.groups)
    return signals(mixed, gate, sge.groups, reading.layer)
