"""Spatial Group-wise Enhance: the gate, and the module that applies it.

Every other part of the package reads this one definition: Li, Hu and Yang, "Spatial Group-wise
Enhance: Improving Semantic Feature Learning in Convolutional Networks", arXiv 1905.09646.
"""

import torch
from torch import Tensor, nn


def spatial_gate(x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float = 1e-5) -> Tensor:
    """Return the gate of every group at every position.

    A group is a run of ``c = C / groups`` neighbouring channels. With m its mean over the
    positions and ``s_p = <m, x_p>`` the similarity of position p to it, the gate is
    ``sigmoid(weight * (s_p - mean(s)) / (std(s) + eps) + bias)``, with the unbiased std.

    Where s does not vary, the gate is ``sigmoid(bias)``: on a map of one cell, and where the spread
    of s is no larger than the rounding of s (a constant map, however large its value). Statistics
    of 16-bit input are taken in float32.

    Args:
        x: Feature map, shape (B, C, H, W), of any memory format.
        weight: The factor gamma, groups values, such as shape (1, groups, 1, 1).
        bias: The offset beta, like ``weight``.
        groups: Number of groups; must divide C.
        eps: Added to the standard deviation.

    Returns:
        The gate in (0, 1), shape (B, groups, H, W), in the dtype of ``x``.

    Raises:
        ValueError: If ``x`` has not four dimensions, or ``groups`` does not divide its channels.
    """
    _check(x, groups)
    batch, channels, height, width = x.shape
    cells = height * width
    dtype = torch.promote_types(x.dtype, torch.float32)
    # bmm is on autocast's list for 16 bit, where the similarities of a large map overflow.
    with torch.autocast(x.device.type, enabled=False):
        y = x.to(dtype).reshape(batch * groups, channels // groups, cells)
        descriptor = y.mean(dim=2, keepdim=True)
        similarity = torch.bmm(descriptor.transpose(1, 2), y).view(batch, groups, cells)
        std, mean = torch.std_mean(similarity, dim=2, keepdim=True, correction=min(1, cells - 1))
        rounding = 8 * torch.finfo(dtype).eps * mean.abs()
        scale = torch.where(std > rounding, weight.view(1, groups, 1).to(dtype) / (std + eps), 0.0)
        shift = bias.view(1, groups, 1).to(dtype) - scale * mean
        gate = torch.addcmul(shift, scale, similarity).sigmoid()
    return gate.view(batch, groups, height, width).to(x.dtype)


def _check(x: Tensor, groups: int) -> None:
    if x.dim() != 4:
        raise ValueError(f"SGE needs a feature map of shape (B, C, H, W), not {tuple(x.shape)}.")
    if x.shape[1] % groups:
        raise ValueError(
            f"SGE cannot split {x.shape[1]} channels into {groups} equal groups: "
            "choose a number of groups that divides the channels."
        )


def _apply_gate(x: Tensor, gate: Tensor) -> Tensor:
    """Multiply every channel of ``x`` by its group's gate, in the memory format of ``x``."""
    batch, channels, height, width = x.shape
    groups = gate.shape[1]
    y = x.view(batch, groups, channels // groups, height, width)
    return (y * gate.unsqueeze(2)).flatten(1, 2)


class SpatialGroupEnhance(nn.Module):
    """Let every group of channels sharpen where it fires: ``x * spatial_gate(x)``.

    The gate passes through ``gate_point``, a submodule that changes nothing, before it multiplies
    ``x``. A forward hook there reads the gate, and a gate that the hook returns takes its place.

    Attributes:
        groups: Number of groups G.
        weight: gamma, shape (1, G, 1, 1), starts at 0.
        bias: beta, shape (1, G, 1, 1), starts at 1, so that every gate starts at 0.731.
        gate_point: The identity that the gate, shape (B, G, H, W), passes through.
    """

    def __init__(self, groups: int = 64, *, compile: bool = False) -> None:
        """Make a module for any number of channels that ``groups`` divides.

        Args:
            groups: Number of groups, at least 1.
            compile: Run a version compiled by torch.compile (needs a C++ compiler).

        Raises:
            ValueError: If ``groups`` is below 1.
        """
        super().__init__()
        if groups < 1:
            raise ValueError(f"SGE needs at least 1 group, not {groups}.")
        self.groups = groups
        self.compile_gate = compile
        self.weight = nn.Parameter(torch.zeros(1, groups, 1, 1))
        self.bias = nn.Parameter(torch.ones(1, groups, 1, 1))
        self.gate_point = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x``, (B, C, H, W), times its gate, in the dtype and memory format of ``x``."""
        gate = self.gate_point(spatial_gate(x, self.weight, self.bias, self.groups))
        return _apply_gate(x, gate)

    def extra_repr(self) -> str:
        """Name the settings in the printed module."""
        return f"groups={self.groups}, compile={self.compile_gate}"
