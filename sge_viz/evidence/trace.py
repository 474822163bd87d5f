"""One forward pass, kept where every block's two branches meet."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck  # type: ignore[import-untyped]

from sge_viz.capture import UnknownLayerError, choose_layers
from sge_viz.evidence.hooks import Hook, hooked
from sge_viz.resnet import layers as layers_of
from sge_viz.sge import SpatialGroupEnhance, add_gated, apply_gate

PLAIN_GROUPS = 64
"""Groups of neighbouring channels that a block without SGE is split into, for comparison."""


@dataclass(frozen=True, eq=False)
class Junction:
    """Where a block's branch, gated by SGE, meets its shortcut: relu(gate * branch + shortcut).

    Attributes:
        layer: Path of the block, such as "layer4.2".
        branch: What SGE is given (the last batch norm's output), shape (B, C, H, W).
        gate: SGE's gate, shape (B, G, H, W); None in a block without SGE.
        shortcut: What is added, shape (B, C, H, W): the block's input or its 1x1 projection.
        groups: Number of channel groups G.
    """

    layer: str
    branch: Tensor
    gate: Tensor | None
    shortcut: Tensor
    groups: int

    def enhanced(self) -> Tensor:
        """Return the branch after SGE, shape (B, C, H, W)."""
        return self.branch if self.gate is None else apply_gate(self.branch, self.gate)

    def output(self) -> Tensor:
        """Return the block's output, shape (B, C, H, W)."""
        if self.gate is None:
            return (self.branch + self.shortcut).relu()
        return add_gated(self.branch, self.gate, self.shortcut).relu_()

    def with_gate(self, gate: Tensor) -> "Junction":
        """Return the same junction under another gate, shape (B, G, H, W)."""
        return replace(self, gate=gate)

    def double(self) -> "Junction":
        """Return the same junction in float64, on the CPU (not every accelerator has float64)."""
        gate = None if self.gate is None else self.gate.to("cpu", torch.float64)
        return replace(
            self,
            branch=self.branch.to("cpu", torch.float64),
            gate=gate,
            shortcut=self.shortcut.to("cpu", torch.float64),
        )


@dataclass(frozen=True, eq=False)
class Trace:
    """One forward pass of a network.

    Attributes:
        input: What the network was given, shape (B, 3, H, W), on the network's device.
        logits: What it answered, shape (B, classes), on the network's device.
        junctions: The traced blocks' junctions by path, in forward order.
        checkpoint: Name of the network's checkpoint, if its card is known.
    """

    input: Tensor
    logits: Tensor
    junctions: Mapping[str, Junction]
    checkpoint: str | None = None

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width in pixels of what the network was given."""
        return (self.input.shape[-2], self.input.shape[-1])

    def junction(self, layer: str) -> Junction:
        """Return the junction of one block.

        Raises:
            UnknownLayerError: If ``layer`` was not traced.
        """
        path = layer.removesuffix(".sge")
        if path not in self.junctions:
            raise UnknownLayerError(
                f"{layer!r} was not traced, only {', '.join(self.junctions) or 'no layer'}."
            )
        return self.junctions[path]


def trace(model: nn.Module, x: Tensor, layers: str | Iterable[str] | None = None) -> Trace:
    """Run the network once and keep what evidence, interventions and ablations start from.

    The tensors of a block stay on the network's device: 2 (B, C, H, W) maps each, 44 MB for all 16
    of an SGE-ResNet50 at 224 pixels.

    Args:
        model: A torchvision or SGE ResNet in eval mode.
        x: Its input, shape (B, 3, H, W); it is moved to the network's device and dtype.
        layers: Paths of the blocks to keep, such as "layer4.2"; None means all.

    Raises:
        UnknownLayerError: If a layer does not exist.
        ValueError: If the model is not a ResNet, or is in training mode, or was compiled as a
            whole, or an SGE module did not let its gate pass through gate_point.
    """
    known, chosen = blocks(model), layer_paths(model, layers)
    parameter = next(model.parameters())
    x = x.to(parameter.device, parameter.dtype)
    parts: dict[str, dict[str, Tensor]] = {path: {} for path in chosen}
    hooks = [hook for path in chosen for hook in _watch(known[path], parts[path])]
    # Tensors made in inference mode could not take part in gradients afterwards.
    with torch.inference_mode(False), torch.no_grad(), hooked(hooks):
        logits = model(x)
    junctions = {path: _junction(path, known[path], parts[path]) for path in chosen}
    card = getattr(model, "card", None)
    return Trace(x, logits, MappingProxyType(junctions), getattr(card, "name", None))


def blocks(model: nn.Module) -> dict[str, nn.Module]:
    """Return the blocks of a torchvision or SGE ResNet by path, in forward order.

    Raises:
        ValueError: If the model is not a ResNet, is in training mode, or was compiled as a whole.
    """
    if hasattr(model, "_orig_mod") or getattr(model, "_compiled_call_impl", None) is not None:
        raise ValueError(
            "This network was compiled as a whole by torch.compile, which skips hooks: "
            "give the network itself (its SGE modules may be compiled)."
        )
    found = {layer.path: model.get_submodule(layer.path) for layer in layers_of(model)}
    if model.training:
        raise ValueError("The network is in training mode: call model.eval() first.")
    return found


def layer_paths(model: nn.Module, layers: str | Iterable[str] | None = None) -> tuple[str, ...]:
    """Return the chosen blocks' paths in forward order; None means all.

    Raises:
        UnknownLayerError: If a layer does not exist.
        ValueError: As `blocks`.
    """
    return choose_layers(layers, tuple(blocks(model)))


def group_count(model: nn.Module, layer: str) -> int:
    """Return the number of channel groups of a block."""
    sge = sge_of(model.get_submodule(layer))
    return sge.groups if sge else PLAIN_GROUPS


def last_block(model: nn.Module) -> str:
    """Return the path of the last block, such as "layer4.2"."""
    return layers_of(model)[-1].path


def rest(model: nn.Module, layer: str, output: Tensor) -> Tensor:
    """Run what follows a block and return the logits, shape (B, classes).

    Args:
        model: A torchvision or SGE ResNet.
        layer: Path of the block.
        output: The block's output, shape (B, C, H, W).
    """
    known: Any = model
    paths = list(found := blocks(model))
    for path in paths[paths.index(layer) + 1 :]:
        output = found[path](output)
    return known.fc(torch.flatten(known.avgpool(output), 1))  # type: ignore[no-any-return]


def sge_of(block: nn.Module) -> SpatialGroupEnhance | None:
    """Return a block's SGE module, or None in a plain block."""
    sge = getattr(block, "sge", None)
    return sge if isinstance(sge, SpatialGroupEnhance) else None


def last_norm(block: nn.Module) -> nn.Module:
    """Return the batch norm whose output is the block's branch."""
    return block.get_submodule("bn3" if isinstance(block, Bottleneck) else "bn2")


def ones_gate(path: str, branch: Tensor, groups: int = PLAIN_GROUPS) -> Tensor:
    """Return a gate that changes nothing, shape (B, G, H, W), for a branch (B, C, H, W).

    Raises:
        ValueError: If the channels cannot be split into the groups; ``path`` names the block.
    """
    batch, channels, height, width = branch.shape
    if channels % groups:
        raise ValueError(
            f"The {channels} channels of {path} cannot be split into {groups} equal groups."
        )
    return branch.new_ones(batch, groups, height, width)


def by_group(values: Tensor, groups: int) -> Tensor:
    """Split the channels of (B, C, ...) into groups of neighbours, (B, G, C / G, ...)."""
    return values.reshape(len(values), groups, -1, *values.shape[2:])


def bypassed(path: str) -> ValueError:
    """Make the error for an SGE module whose gate did not pass through gate_point."""
    return ValueError(
        f"The gate of {path} did not pass through its gate_point, as in a network whose blocks "
        "torch.compile has compiled: use the network uncompiled."
    )


def _watch(block: nn.Module, parts: dict[str, Tensor]) -> Iterable[tuple[nn.Module, Hook]]:
    """Yield the hooks that keep the parts of one block's junction."""

    def keep_output(name: str, *, clone: bool = False) -> Hook:
        def hook(_: nn.Module, __: tuple[Tensor, ...], out: Tensor) -> None:
            parts[name] = out.clone() if clone else out

        return hook

    def keep_input(name: str) -> Hook:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...], __: Tensor) -> None:
            parts[name] = inputs[0]

        return hook

    # The block adds to the branch and rectifies it in place.
    yield last_norm(block), keep_output("branch", clone=True)
    if sge := sge_of(block):
        yield sge.gate_point, keep_output("gate")
    if isinstance(block.downsample, nn.Module):
        yield block.downsample, keep_output("shortcut")
    else:
        yield block, keep_input("shortcut")


def _junction(path: str, block: nn.Module, parts: dict[str, Tensor]) -> Junction:
    sge = sge_of(block)
    groups = sge.groups if sge else PLAIN_GROUPS
    branch, gate = parts["branch"], parts.get("gate")
    if sge and gate is None:
        raise bypassed(path)
    ones = ones_gate(path, branch, groups)
    if gate is not None:  # A hook may have put one number in the gate's place.
        gate = gate.expand_as(ones)
    return Junction(path, branch, gate, parts["shortcut"], groups)
