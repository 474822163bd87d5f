"""The method with a part changed, on trained weights: what does normalisation, or gamma, do?

A variant is another network that shares every tensor with the original but those of its SGE
modules, so that everything else here works on it, and the original stays as it is.
"""

import dataclasses
import math
from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from sge_viz.checkpoints import Card
from sge_viz.evidence.sharing import shared_copy
from sge_viz.evidence.trace import blocks, by_group, last_norm, layer_paths, sge_of
from sge_viz.sge import SpatialGroupEnhance

Origin = Literal["trained", "initial"]


class UnnormalisedSGE(SpatialGroupEnhance):
    """SGE without its normalisation: the gate is sigmoid(gamma * s + beta), s = <m, x_p>."""

    def _gate(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):  # 16 bit would overflow in s
            y = by_group(x.to(torch.promote_types(x.dtype, torch.float32)), self.groups)
            similarity = (y * y.mean((3, 4), keepdim=True)).sum(2)
            gate = (self.weight * similarity + self.bias).sigmoid()
        passed: Tensor = self.gate_point(gate.to(x.dtype), x)
        return passed


def variant(
    model: nn.Module,
    *,
    normalise: bool = True,
    gamma: Origin = "trained",
    beta: Origin = "trained",
    groups: int | None = None,
    layers: str | Iterable[str] | None = None,
) -> nn.Module:
    """Return the network with its SGE changed. No weight was trained for what is changed.

    Another number of groups: every channel keeps its group's gamma and beta, and a new group takes
    their mean over its channels. Where a new group joins old ones theirs are averaged, where an old
    one is divided they are repeated.

    Args:
        model: An SGE-ResNet in eval mode; it is not changed.
        normalise: False leaves out (s - mean) / (std + eps): the gate is sigmoid(gamma * s + beta).
        gamma: "initial" is 0: the gate is sigmoid(beta) everywhere.
        beta: "initial" is 1.
        groups: Number of groups, which must divide the channels of every chosen layer; None keeps
            the trained number.
        layers: Paths of the blocks to change; None means all with SGE.

    Returns:
        A network in eval mode that shares the other tensors with ``model``. `changed_part` says
        what was changed and that it is not trained for it, and so do the name and title of its
        card, if the model has one.

    Raises:
        UnknownLayerError: If a layer does not exist (a KeyError).
        ValueError: If a chosen block has no SGE, ``groups`` does not divide its channels, or gamma
            or beta is neither "trained" nor "initial".
    """
    for name, origin in (("gamma", gamma), ("beta", beta)):
        if origin not in ("trained", "initial"):
            raise ValueError(f"{name} is 'trained' or 'initial', not {origin!r}.")
    known = blocks(model)
    chosen = _with_sge(model, layers)
    twin = shared_copy(model)
    regrouped = False
    for path in chosen:
        old = sge_of(known[path])
        assert old is not None
        count = old.groups if groups is None else groups
        regrouped |= count != old.groups
        new = _adapted(old, path, _channels(known[path]), count, normalise=normalise)
        if gamma == "initial":
            nn.init.zeros_(new.weight)
        if beta == "initial":
            nn.init.ones_(new.bias)
        new = new.to(old.weight.device, old.weight.dtype).requires_grad_(False).eval()
        twin.get_submodule(path).sge = new
    if changes := _changes(normalise, gamma, beta, groups if regrouped else None):
        where = "" if layers is None else f" in {', '.join(chosen)}"
        label = f"{', '.join(changes)}{where}: untrained for this"
        earlier = getattr(twin, "changed_part", None)  # a variant of a variant
        twin.changed_part = f"{earlier}; {label}" if earlier else label  # type: ignore[assignment]
        _rename(twin, label, groups if layers is None else None)
    return twin


def changed_part(model: nn.Module) -> str:
    """Say what a variant changes, such as "16 groups: untrained for this"."""
    return str(getattr(model, "changed_part", "nothing changed"))


def parse_variant(text: str) -> dict[str, Any]:
    """Read the keywords of `variant` from a shell's word.

    Its parts, joined by +, are no-normalisation, initial-gamma, initial-beta, groups=NUMBER.

    >>> parse_variant("no-normalisation+groups=16")
    {'normalise': False, 'groups': 16}

    Raises:
        ValueError: If the text is not of this form.
    """
    words: dict[str, dict[str, Any]] = {
        "no-normalisation": {"normalise": False},
        "initial-gamma": {"gamma": "initial"},
        "initial-beta": {"beta": "initial"},
    }
    keywords: dict[str, Any] = {}
    for part in text.split("+"):
        name, _, count = part.partition("=")
        if part in words:
            keywords |= words[part]
        elif name == "groups" and count.isdecimal():
            keywords["groups"] = int(count)
        else:
            raise ValueError(
                f"{text!r} is no variant: write one or more of no-normalisation, initial-gamma, "
                "initial-beta, groups=NUMBER, joined by +."
            )
    return keywords


def group_counts(model: nn.Module, layers: str | Iterable[str] | None = None) -> tuple[int, ...]:
    """Return the numbers of groups that divide the channels of every chosen layer, rising.

    Raises:
        UnknownLayerError: If a layer does not exist (a KeyError).
        ValueError: If a chosen block has no SGE.
    """
    known = blocks(model)
    common = math.gcd(*(_channels(known[path]) for path in _with_sge(model, layers)))
    return tuple(count for count in range(1, common + 1) if common % count == 0)


def _with_sge(model: nn.Module, layers: str | Iterable[str] | None) -> tuple[str, ...]:
    chosen = layer_paths(model, layers)
    with_sge = tuple(path for path in chosen if sge_of(model.get_submodule(path)))
    if not with_sge or (layers is not None and with_sge != chosen):
        missing = next(path for path in chosen if path not in with_sge)
        raise ValueError(f"{missing} has no SGE, so there is no part of it to change.")
    return with_sge


def _channels(block: nn.Module) -> int:
    norm = last_norm(block)
    assert isinstance(norm, nn.BatchNorm2d)
    return norm.num_features


def _adapted(
    old: SpatialGroupEnhance, path: str, channels: int, groups: int, *, normalise: bool
) -> SpatialGroupEnhance:
    """Return a module for another number of groups, with the trained values carried over."""
    if groups < 1 or channels % groups:
        raise ValueError(
            f"{groups} groups do not divide the {channels} channels of {path}: "
            "choose a divisor of the channels of every chosen layer."
        )
    keep = normalise and not isinstance(old, UnnormalisedSGE)
    new = (SpatialGroupEnhance if keep else UnnormalisedSGE)(groups)
    with torch.no_grad():
        for mine, theirs in ((new.weight, old.weight), (new.bias, old.bias)):
            # In float64 the mean of equal values is that value.
            values = theirs.detach().cpu().double().flatten()
            each = values.repeat_interleave(channels // old.groups)
            mine.copy_(each.view(groups, -1).mean(1).view_as(mine))
    return new


def _changes(normalise: bool, gamma: Origin, beta: Origin, groups: int | None) -> list[str]:
    changes = [] if normalise else ["no normalisation"]
    if gamma == "initial":
        changes.append("gamma 0")
    if beta == "initial":
        changes.append("beta 1")
    if groups is not None:
        changes.append(f"{groups} group{'s' if groups > 1 else ''}")
    return changes


def _rename(twin: nn.Module, label: str, groups: int | None) -> None:
    card = getattr(twin, "card", None)
    if not isinstance(card, Card):
        return
    twin.card = dataclasses.replace(  # type: ignore[assignment]  # a plain attribute
        card,
        name=f"{card.name} ({label})",
        title=f"{card.title} ({label})",
        notes=f"{card.notes} A variant, not trained as it is run ({label}).".strip(),
        published=False,
        top1=None,
        top5=None,
        groups=groups or card.groups,
    )
