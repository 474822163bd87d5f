"""Which network a set of tensors is, whether they fit it exactly, and that network made of them."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torchvision.models as plain  # type: ignore[import-untyped]
from torch import Tensor, nn

from sge_viz import resnet
from sge_viz.checkpoints.errors import BadCheckpoint

_DEPTHS = {
    (False, (2, 2, 2, 2)): 18,
    (False, (3, 4, 6, 3)): 34,
    (True, (3, 4, 6, 3)): 50,
    (True, (3, 4, 23, 3)): 101,
    (True, (3, 8, 36, 3)): 152,
}
_SGE_NETWORKS: dict[int, Callable[..., nn.Module]] = {
    18: resnet.sge_resnet18,
    34: resnet.sge_resnet34,
    50: resnet.sge_resnet50,
    101: resnet.sge_resnet101,
    152: resnet.sge_resnet152,
}
_PLAIN_NETWORKS: dict[int, Callable[..., nn.Module]] = {
    18: plain.resnet18,
    34: plain.resnet34,
    50: plain.resnet50,
    101: plain.resnet101,
    152: plain.resnet152,
}
_SHOWN = 5
_COUNTER = ".num_batches_tracked"


@dataclass(frozen=True)
class Architecture:
    """A ResNet that this software can build.

    Attributes:
        depth: 18, 34, 50, 101 or 152.
        groups: SGE groups of every block; None for a network without SGE.
        classes: Outputs of the last layer.
    """

    depth: int
    groups: int | None
    classes: int

    @property
    def name(self) -> str:
        """Its name in the catalogue, such as "sge_resnet50"."""
        return f"resnet{self.depth}" if self.groups is None else f"sge_resnet{self.depth}"

    def __str__(self) -> str:
        if self.groups is None:
            return f"ResNet{self.depth} without SGE ({self.classes} classes)"
        return f"SGE-ResNet{self.depth} ({self.groups} groups, {self.classes} classes)"

    def build(self) -> nn.Module:
        """Make the network without storage (on the meta device), to be given its tensors."""
        with torch.device("meta"):
            if self.groups is None:
                return _PLAIN_NETWORKS[self.depth](num_classes=self.classes)
            return _SGE_NETWORKS[self.depth](num_classes=self.classes, groups=self.groups)


def identify(tensors: Mapping[str, Tensor], label: str) -> Architecture:
    """Tell the network that tensors belong to, from their names and shapes alone.

    With blocks missing or too many it is the nearest one, so that `check_fit` can list them.

    Raises:
        BadCheckpoint: They are of no ResNet, or of one that cannot exist.
    """
    blocks = tuple(
        len({name.split(".")[1] for name in tensors if name.startswith(f"layer{stage}.")})
        for stage in (1, 2, 3, 4)
    )
    if not any(blocks):
        raise BadCheckpoint(
            f"{label} is not a ResNet: its tensors are called {_listed(sorted(tensors))}."
        )
    bottleneck = any(name.startswith("layer") and ".conv3." in name for name in tensors)
    known = [depths for kind, depths in _DEPTHS if kind == bottleneck]
    nearest = min(
        known, key=lambda depths: sum(abs(a - b) for a, b in zip(depths, blocks, strict=True))
    )
    return Architecture(
        _DEPTHS[bottleneck, nearest], _groups(tensors, bottleneck, label), _classes(tensors, label)
    )


def _groups(tensors: Mapping[str, Tensor], bottleneck: bool, label: str) -> int | None:
    gammas = [tensor for name, tensor in tensors.items() if name.endswith(".sge.weight")]
    if not gammas:
        return 64 if any(".sge." in name for name in tensors) else None
    sizes = Counter(gamma.shape[1] if gamma.dim() == 4 else 64 for gamma in gammas)
    ((groups, _),) = sizes.most_common(1)
    channels = 256 if bottleneck else 64  # of layer1; those of the other stages are multiples
    if not groups or channels % groups:
        raise BadCheckpoint(
            f"{label} has SGE modules of {groups} groups, which do not divide {channels} channels."
        )
    return groups


def _classes(tensors: Mapping[str, Tensor], label: str) -> int:
    head = tensors.get("fc.weight")
    classes = 1000 if head is None or head.dim() != 2 else head.shape[0]
    if not classes:
        raise BadCheckpoint(f"{label} has a last layer of no classes.")
    return classes


def check_fit(tensors: Mapping[str, Tensor], architecture: Architecture, label: str) -> None:
    """Check names, shapes and numbers, strictly.

    Only batch normalisation's batch counters may be missing, and then all of them: torch did not
    save them before version 0.4.1, and a network in eval mode never reads them.

    Raises:
        BadCheckpoint: Tensors are missing, unexpected, misshapen, no floating-point numbers, or not
            finite in float32.
    """
    expected = architecture.build().state_dict()
    if not any(name.endswith(_COUNTER) for name in tensors):
        expected = {name: t for name, t in expected.items() if not name.endswith(_COUNTER)}
    problems = [
        _problem("missing", [name for name in expected if name not in tensors]),
        _problem("unexpected", [name for name in tensors if name not in expected]),
        _problem(
            "of the wrong shape",
            [
                f"{name} {tuple(tensors[name].shape)} instead of {tuple(wanted.shape)}"
                for name, wanted in expected.items()
                if name in tensors and tensors[name].shape != wanted.shape
            ],
        ),
    ]
    found = "; ".join(problem for problem in problems if problem)
    if found:
        raise BadCheckpoint(f"{label} does not fit {architecture}: {found}.")
    _check_numbers(tensors, expected, label)


def _problem(what: str, entries: list[str]) -> str:
    count = f"{len(entries)} tensor{'s' if len(entries) > 1 else ''}"
    return f"{count} {what}: {_listed(entries)}" if entries else ""


def _listed(entries: list[str]) -> str:
    more = f" and {len(entries) - _SHOWN} more" if len(entries) > _SHOWN else ""
    return ", ".join(entry[:100] for entry in entries[:_SHOWN]) + more


def _check_numbers(tensors: Mapping[str, Tensor], expected: Mapping[str, Any], label: str) -> None:
    for name, tensor in tensors.items():
        if not expected[name].is_floating_point():
            continue
        if not tensor.is_floating_point():
            raise BadCheckpoint(f"{label} holds {name} as {tensor.dtype}, not as weights.")
        if not tensor.to(torch.float32).isfinite().all():
            raise BadCheckpoint(f"{label} holds NaN or infinite numbers in {name}.")


def assemble(tensors: Mapping[str, Tensor], architecture: Architecture) -> nn.Module:
    """Make the network of tensors that `check_fit` has passed: float32, on the CPU, eval mode."""
    model = architecture.build()
    state = {
        name: tensors[name].to(wanted.dtype)
        if name in tensors
        else torch.zeros(wanted.shape, dtype=wanted.dtype)
        for name, wanted in model.state_dict().items()
    }
    model.load_state_dict(state, strict=True, assign=True)
    return model.eval()
