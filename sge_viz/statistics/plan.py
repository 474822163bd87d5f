"""What to take from a data set, and the record that decides whether a run may be resumed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from sge_viz.resnet import layers as resnet_layers
from sge_viz.sge import SpatialGroupEnhance
from sge_viz.statistics.folder import Folder
from sge_viz.statistics.settings import Settings

FORMAT = 1
"""Raised whenever the same plan would give other arrays."""


@dataclass(frozen=True)
class Plan:
    """Everything that one pass over a data set is to give, and how the network runs.

    Attributes:
        layers: Layer paths, in forward order; none for accuracy alone.
        statistics: How to take the statistics; None for none.
        strongest: How many pictures to keep a group and ranking; 0 for none.
        accuracy: Whether to count top-1 and top-5 hits.
        batch: Pictures a forward pass.
        shard: Pictures a shard: what a kill loses at most.
        bfloat16: Run the network under bf16 autocast.
        channels_last: Run the network in the channels_last memory format.
    """

    layers: tuple[str, ...] = ()
    statistics: Settings | None = None
    strongest: int = 0
    accuracy: bool = False
    batch: int = 32
    shard: int = 1024
    bfloat16: bool = False
    channels_last: bool = False

    def __post_init__(self) -> None:
        """Refuse sizes that mean nothing.

        Raises:
            ValueError: A batch or shard below 1, or a negative number of strongest pictures.
        """
        for name in ("batch", "shard"):
            if getattr(self, name) < 1:
                raise ValueError(f"The {name} size is {getattr(self, name)}: choose at least 1.")
        if self.strongest < 0:
            raise ValueError(f"{self.strongest} strongest pictures: choose at least 1.")

    def shards(self, pictures: int) -> tuple[range, ...]:
        """Return the places of each shard's pictures; they depend on nothing else."""
        starts = range(0, pictures, self.shard)
        return tuple(range(start, min(start + self.shard, pictures)) for start in starts)

    def batches(self, shard: range) -> list[range]:
        """Return the places of each batch of a shard; no batch crosses shards."""
        return [shard[i : i + self.batch] for i in range(0, len(shard), self.batch)]


def sge_layers(model: nn.Module) -> dict[str, int]:
    """Return the groups of each layer with SGE, by block path in forward order.

    Raises:
        ValueError: The network has no SGE.
    """
    found = {
        path.removesuffix(".sge") or "sge": module.groups
        for path, module in model.named_modules()
        if isinstance(module, SpatialGroupEnhance)
    }
    if not found:
        raise ValueError(
            f"This {type(model).__name__} has no SGE: there is nothing to compare before and after."
        )
    return found


def choose_layers(model: nn.Module, wanted: Iterable[str] | None = None) -> tuple[str, ...]:
    """Return layer paths in forward order.

    Args:
        model: A network with SGE.
        wanted: Layer paths, "all", or None for the paper's two: the last block of stage 4
            (its Figure 2) and the last block of all (its Figures 3 and 4).

    Raises:
        ValueError: A layer does not exist, or the network has no SGE.
    """
    known = sge_layers(model)
    if wanted is None:
        try:
            stage4 = [layer.path for layer in resnet_layers(model) if layer.stage == 4][-1:]
        except ValueError:  # another network: all of its layers
            return tuple(known)
        return tuple(path for path in known if path in {*stage4, list(known)[-1]})
    paths = {path.removesuffix(".sge") for path in wanted}
    if paths == {"all"}:
        return tuple(known)
    unknown = sorted(paths - set(known))
    if unknown:
        raise ValueError(
            f"There is no layer {', '.join(unknown)} with SGE in this network; it has "
            f"{', '.join(known)}."
        )
    return tuple(path for path in known if path in paths)


def hash_weights(model: nn.Module) -> str:
    """Return the SHA-256 of a network's parameters and buffers, with their names and shapes."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy() if flat.numel() else b"")
    return digest.hexdigest()


@dataclass(frozen=True)
class Job:
    """All that a run's numbers depend on; shards of another job are never mixed in."""

    pictures: str
    weights: str
    plan: dict[str, Any]
    device: str
    format: int = FORMAT

    @classmethod
    def of(cls, model: nn.Module, folder: Folder, plan: Plan, device: torch.device) -> Job:
        """Describe a run."""
        return cls(folder.sha256, hash_weights(model), asdict(plan), device.type)

    def record(self) -> dict[str, Any]:
        """Return it as plain values."""
        record = asdict(self)
        record["plan"]["layers"] = list(self.plan["layers"])
        return record

    def differences(self, stored: dict[str, Any]) -> list[str]:
        """Say in words how a stored record differs from this job; nothing if it is the same."""
        mine, words = self.record(), []
        if mine["pictures"] != stored.get("pictures"):
            words.append("the list of pictures has changed (other files or file sizes)")
        if mine["weights"] != stored.get("weights"):
            words.append("the weights are others")
        if mine["device"] != stored.get("device"):
            words.append(f"it ran on {stored.get('device')} and now runs on {mine['device']}")
        if mine["format"] != stored.get("format"):
            words.append("it was made by another version of this software")
        before, now = _flat(stored.get("plan") or {}), _flat(mine["plan"])
        for name in dict.fromkeys((*before, *now)):
            if before.get(name) != now.get(name):
                words.append(f"{name} was {before.get(name)} and is now {now.get(name)}")
        return words


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        nested = isinstance(value, dict)
        flat |= _flat(value, f"{prefix}{name}.") if nested else {f"{prefix}{name}": value}
    return flat
