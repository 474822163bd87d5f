"""What if a gate were another one: replacements, and where they act.

with intervene(model, Intervention(OFF, layers="layer4.2")):
    model(x)
"""

import math
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor, nn

from sge_viz.capture import UnknownLayerError
from sge_viz.evidence.hooks import Hook, hooked
from sge_viz.evidence.trace import Junction, blocks, bypassed, last_norm, ones_gate, sge_of
from sge_viz.sge import apply_gate


@dataclass(frozen=True)
class Unchanged:
    """Leave the gate as it is: the identity, to compare with."""

    def __call__(self, gate: Tensor) -> Tensor:
        """Return ``gate`` itself."""
        return gate

    def __str__(self) -> str:
        return "gate unchanged"


@dataclass(frozen=True)
class Constant:
    """One number at every position: 1 switches SGE off, 0 takes the group's branch away.

    Raises:
        ValueError: If the number is not finite.
    """

    value: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise ValueError(f"A gate can be any finite number, not {self.value}.")

    def __call__(self, gate: Tensor) -> Tensor:
        """Return a gate (B, G, H, W) of the number alone."""
        return torch.full_like(gate, self.value)

    def __str__(self) -> str:
        names = {1.0: "SGE off (gate 1)", 0.0: "group zeroed (gate 0)"}
        return names.get(self.value, f"gate {self.value:g} everywhere")


@dataclass(frozen=True)
class Mean:
    """Every gate's own mean over the positions: SGE scales the group but does not place it."""

    def __call__(self, gate: Tensor) -> Tensor:
        """Return each map's mean at all its positions, shape (B, G, H, W)."""
        return gate.mean((2, 3), keepdim=True).expand_as(gate)

    def __str__(self) -> str:
        return "gate's own mean"


@dataclass(frozen=True)
class Shuffled:
    """The gate's values at other positions: each group has a permutation of its own.

    A group's permutation depends on the seed, the group's index, and the numbers of groups and
    positions, on nothing else: shuffling one group does to it what shuffling all of them does.
    """

    seed: int = 0

    def __call__(self, gate: Tensor) -> Tensor:
        """Return the permuted gate, shape (B, G, H, W); all pictures are permuted alike."""
        order = _permutations(self.seed, gate.shape[1], gate.shape[2] * gate.shape[3])
        order = order.to(gate.device).expand(len(gate), -1, -1)
        return gate.flatten(2).gather(2, order).view_as(gate)

    def __str__(self) -> str:
        return f"gate shuffled over positions (seed {self.seed})"


@lru_cache(maxsize=4)  # A ResNet's layers have maps of four sizes.
def _permutations(seed: int, groups: int, cells: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    with torch.inference_mode(False):
        return torch.rand(groups, cells, generator=generator, dtype=torch.float64).argsort(1)


Replacement = Unchanged | Constant | Mean | Shuffled
OFF = Constant(1.0)
"""SGE switched off: the gate is 1."""
ZEROED = Constant(0.0)
"""The group's branch taken away: the gate is 0. Its shortcut remains."""


@dataclass(frozen=True)
class Intervention:
    """A replacement of gates, and where it acts.

    Attributes:
        replacement: What takes a gate's place.
        layers: Paths of the blocks, such as ("layer4.2",); None means all.
        groups: The groups' 0-based indices, the same in every layer; None means all.

    Raises:
        ValueError: If a group is not a whole number, or there is no layer or no group.
    """

    replacement: Replacement
    layers: tuple[str, ...] | None = None
    groups: tuple[int, ...] | None = None

    def __init__(
        self,
        replacement: Replacement,
        layers: str | Iterable[str] | None = None,
        groups: int | Iterable[int] | None = None,
    ) -> None:
        """Take one layer or group as well as several."""
        paths = [layers] if isinstance(layers, str) else layers
        indices = groups if groups is None or isinstance(groups, Iterable) else [groups]
        object.__setattr__(self, "replacement", replacement)
        object.__setattr__(
            self, "layers", None if paths is None else tuple(p.removesuffix(".sge") for p in paths)
        )
        try:
            whole = None if indices is None else tuple(operator.index(group) for group in indices)
        except TypeError as error:
            raise ValueError(f"A group is a whole number, not {groups!r}.") from error
        object.__setattr__(self, "groups", whole)
        if self.layers == () or self.groups == ():
            raise ValueError("An intervention needs at least one layer and one group.")

    def acts_on(self, layer: str) -> bool:
        """Say whether the intervention acts in a block."""
        return self.layers is None or layer in self.layers

    def __call__(self, gate: Tensor) -> Tensor:
        """Return ``gate``, shape (B, G, H, W), with the chosen groups replaced.

        Raises:
            ValueError: If a group does not exist.
        """
        count = gate.shape[1]
        if self.groups is None:
            return self.replacement(gate)
        for group in self.groups:
            if not 0 <= group < count:
                raise ValueError(f"There is no group {group}: they are 0 to {count - 1}.")
        if isinstance(self.replacement, Unchanged):
            return gate
        chosen = list(self.groups)
        result = gate.clone()
        result[:, chosen] = self.replacement(gate)[:, chosen]
        return result

    def __str__(self) -> str:
        where = "all layers" if self.layers is None else ", ".join(self.layers)
        which = "all groups"
        if self.groups is not None:
            some = ", ".join(map(str, self.groups))
            which = f"group {some}" if len(self.groups) == 1 else f"groups {some}"
        return f"{self.replacement}: {which} of {where}"


def parse_intervention(text: str) -> Intervention:
    """Read an intervention from a shell's word: KIND[=VALUE][@LAYER,...][/GROUP,...].

    Kinds are off, mean, shuffled[=SEED], constant=NUMBER, zeroed and unchanged.

    >>> str(parse_intervention("shuffled=7@layer4.2/17,21"))
    'gate shuffled over positions (seed 7): groups 17, 21 of layer4.2'

    Raises:
        ValueError: If the text is not of this form.
    """
    rest, _, groups = text.partition("/")
    rest, _, layers = rest.partition("@")
    kind, _, value = rest.partition("=")
    makers: dict[str, Callable[[], Replacement]] = {
        "off": lambda: OFF,
        "mean": Mean,
        "shuffled": lambda: Shuffled(int(value or 0)),
        "constant": lambda: Constant(float(value)),
        "zeroed": lambda: ZEROED,
        "unchanged": Unchanged,
    }
    valued = kind == "constant", kind in ("constant", "shuffled")
    if kind not in makers or (not value and valued[0]) or (value and not valued[1]):
        raise ValueError(_HOW.format(text=text))
    try:
        return Intervention(
            makers[kind](),
            layers.split(",") if layers else None,
            [int(group) for group in groups.split(",")] if groups else None,
        )
    except ValueError as error:
        raise ValueError(_HOW.format(text=text)) from error


_HOW = (
    "{text!r} is no intervention: write KIND[=VALUE][@LAYER,...][/GROUP,...] with a KIND of off, "
    "mean, shuffled=SEED, constant=NUMBER, zeroed or unchanged, such as shuffled=7@layer4.2/17,21."
)


@contextmanager
def intervene(model: nn.Module, *interventions: Intervention) -> Iterator[None]:
    """Replace gates while the block runs, in this thread's forward passes only.

    Interventions in one layer act one after the other. In a block without SGE, whose gate is 1, a
    group can be zeroed or scaled by a constant; switching off, mean and shuffling are refused.
    Nothing stays on the model, however the block ends.

    Args:
        model: A torchvision or SGE ResNet in eval mode.
        interventions: What to do.

    Raises:
        UnknownLayerError: If a layer does not exist (a KeyError).
        ValueError: If the model is not a ResNet, is in training mode or compiled as a whole; from
            the forward pass, if a group does not exist or a compiled block passed over its
            gate_point.
    """
    hooks: list[tuple[nn.Module, Hook]] = []
    for path, block in blocks(model).items():
        acting = acting_on(model, path, interventions)
        if acting and sge_of(block):
            hooks += _gate_hooks(path, block, acting)
        elif acting:
            hooks.append((last_norm(block), _branch_hook(path, acting)))
    with hooked(hooks):
        yield


def acting_on(
    model: nn.Module, layer: str, interventions: Sequence[Intervention]
) -> list[Intervention]:
    """Return the interventions that act in a block, after checking that they can.

    Raises:
        UnknownLayerError: If one of them names a layer that does not exist.
        ValueError: If the block has no SGE and one would switch off, average or shuffle its gate.
    """
    known = blocks(model)
    for intervention in interventions:
        for path in intervention.layers or ():
            if path not in known:
                raise UnknownLayerError(
                    f"There is no layer {path!r} in this network; it has {', '.join(known)}."
                )
    acting = [intervention for intervention in interventions if intervention.acts_on(layer)]
    for intervention in acting if sge_of(known[layer]) is None else ():
        replacement = intervention.replacement
        scales = isinstance(replacement, Constant) and replacement != OFF
        if not scales and not isinstance(replacement, Unchanged):
            raise ValueError(
                f"{layer} has no SGE, so there is no gate to replace ({replacement}): "
                "a group can only be zeroed or scaled by a constant there."
            )
    return acting


def replaced(gate: Tensor, interventions: Iterable[Intervention]) -> Tensor:
    """Return ``gate``, shape (B, G, H, W), after all interventions, one after the other."""
    for intervention in interventions:
        gate = intervention(gate)
    return gate


def intervened(junction: Junction, interventions: Iterable[Intervention]) -> Junction:
    """Return a junction whose gate is replaced; of a block without SGE the branch is scaled."""
    if junction.gate is not None:
        return junction.with_gate(replaced(junction.gate, interventions))
    ones = ones_gate(junction.layer, junction.branch)
    branch = apply_gate(junction.branch, replaced(ones, interventions))
    return replace(junction, branch=branch)


def _gate_hooks(
    path: str, block: nn.Module, interventions: list[Intervention]
) -> list[tuple[nn.Module, Hook]]:
    sge = sge_of(block)
    assert sge is not None
    passed = False

    def change(_: nn.Module, __: tuple[Tensor, ...], gate: Tensor) -> Tensor:
        nonlocal passed
        passed = True
        return replaced(gate, interventions)

    def verify(_: nn.Module, __: tuple[Tensor, ...], ___: Tensor) -> None:
        nonlocal passed
        if not passed:
            raise bypassed(path)
        passed = False

    return [(sge.gate_point, change), (block, verify)]


def _branch_hook(path: str, interventions: list[Intervention]) -> Hook:
    def scale(_: nn.Module, __: tuple[Tensor, ...], branch: Tensor) -> Tensor:
        return apply_gate(branch, replaced(ones_gate(path, branch), interventions))

    return scale
