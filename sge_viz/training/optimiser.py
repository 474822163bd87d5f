"""The optimiser, and which parameters decay or have a rate of their own."""

from __future__ import annotations

import torch
from torch import nn

from sge_viz.sge import SpatialGroupEnhance
from sge_viz.training.settings import Settings


def make_optimiser(module: nn.Module, settings: Settings) -> torch.optim.Optimizer:
    """Make the optimiser of a module, with three kinds of parameters.

    SGE's gamma and beta have `settings.sge_rate` times the rate and never decay. Weights of
    convolutions and linear layers decay. With SGD all else decays too, as in the published
    training; with AdamW it does not.
    """
    sge = {
        parameter
        for part in module.modules()
        if isinstance(part, SpatialGroupEnhance)
        for parameter in part.parameters()
    }
    others = [parameter for parameter in module.parameters() if parameter not in sge]
    everything = settings.optimiser == "sgd"
    decaying = [parameter for parameter in others if everything or parameter.dim() > 1]
    free = [parameter for parameter in others if not everything and parameter.dim() <= 1]
    kinds = [
        {"params": decaying, "factor": 1.0, "weight_decay": settings.weight_decay},
        {"params": free, "factor": 1.0, "weight_decay": 0.0},
        {
            "params": [parameter for parameter in module.parameters() if parameter in sge],
            "factor": settings.sge_rate,
            "weight_decay": 0.0,
        },
    ]
    kinds = [kind for kind in kinds if kind["params"]]
    if settings.optimiser == "sgd":
        return torch.optim.SGD(kinds, settings.rate, momentum=settings.momentum)
    return torch.optim.AdamW(kinds, settings.rate)


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of all kinds of parameters, each times its own factor."""
    for kind in optimiser.param_groups:
        kind["lr"] = rate * kind["factor"]
