"""What one layer's groups saw, and measures of it per group."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class GroupMaps:
    """The maps of every group of one layer in one forward pass.

    All tensors are float32, on the CPU and detached. A norm is the Euclidean length of a group's
    channels at one position, at least 0. A plain ResNet has no gate: there gate, after, gamma and
    beta are None.

    Attributes:
        layer: Path of the block, such as "layer3.5".
        before: Norms before SGE, shape (B, G, H, W).
        gate: The gate in (0, 1), shape (B, G, H, W).
        after: Norms after SGE, shape (B, G, H, W): gate * before, as SGE multiplies by the gate.
        gamma: SGE's factors, shape (G,).
        beta: SGE's offsets, shape (G,).
        input_size: Height and width in pixels of what the model was given, if it was one tensor.
        checkpoint: Name of the model's checkpoint, if its card is known.
    """

    layer: str
    before: Tensor
    gate: Tensor | None = None
    after: Tensor | None = None
    gamma: Tensor | None = None
    beta: Tensor | None = None
    input_size: tuple[int, int] | None = None
    checkpoint: str | None = None


def concentration(norms: Tensor) -> Tensor:
    """Return the share of a map's total norm that its strongest tenth of the cells holds.

    Args:
        norms: Non-negative maps, shape (..., G, H, W).

    Returns:
        Shares in [0, 1], shape (..., G). With P = H * W cells the tenth is ceil(P / 10) cells; a
        uniform map, and by definition an all-zero one, has ceil(P / 10) / P.
    """
    flat = norms.flatten(-2)
    cells = flat.shape[-1]
    tenth = -(-cells // 10)
    strongest = flat.topk(tenth, dim=-1, sorted=False).values.sum(-1)
    total = flat.sum(-1)
    uniform = torch.full_like(total, tenth / cells)
    return torch.where(total > 0, strongest / total, uniform).clamp(0, 1)


def concentration_gained(maps: GroupMaps) -> Tensor:
    """Return the concentration after SGE less that before, shape (B, G), in [-1, 1].

    Raises:
        ValueError: If the layer has no SGE.
    """
    if maps.after is None:
        raise ValueError(f"{maps.layer} has no SGE, so nothing is gained or lost there.")
    return concentration(maps.after) - concentration(maps.before)


def gate_contrast(gate: Tensor) -> Tensor:
    """Return a gate's largest less its smallest value over the positions.

    Args:
        gate: Gates, shape (..., G, H, W).

    Returns:
        Contrasts in [0, 1), shape (..., G).
    """
    return gate.amax((-2, -1)) - gate.amin((-2, -1))
