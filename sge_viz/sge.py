"""Spatial Group-wise Enhance: the gate, and the module that applies it.

Every other part of the package reads this one definition: Li, Hu and Yang, "Spatial Group-wise
Enhance: Improving Semantic Feature Learning in Convolutional Networks", arXiv 1905.09646.
"""

import types
from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook

_COMPILED_SIZES = 64
_METHODS = frozenset({"forward", "_conv_forward"})  # the latter is set to make pictures that tile

_Step = Callable[..., Tensor]


def spatial_gate(x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float = 1e-5) -> Tensor:
    """Return the gate of every group at every position.

    A group is a run of ``c = C / groups`` neighbouring channels. With m its mean over the
    positions and ``s_p = <m, x_p>`` the similarity of position p to it, the gate is
    ``sigmoid(weight * (s_p - mean(s)) / (std(s) + eps) + bias)``, with the unbiased std.

    Where s does not vary, the gate is ``sigmoid(bias)``: on a map of one cell, and where the spread
    of s is within the rounding of s, as on a constant map however large its values. There the
    formula would divide rounding noise by ``eps``. Statistics of 16-bit input are taken in float32.
    Sums of squares bound what they hold: in float32, values of ``x`` up to some 1e6.

    Args:
        x: Feature map, shape (B, C, H, W), of any memory format.
        weight: The factor gamma, groups values, such as shape (1, groups, 1, 1).
        bias: The offset beta, like ``weight``.
        groups: Number of groups; must divide C.
        eps: Added to the standard deviation.

    Returns:
        The gate in (0, 1), shape (B, groups, H, W), in the dtype of ``x``.

    Raises:
        ValueError: If ``x`` has not four dimensions or no cells, or ``groups`` does not divide its
            channels.
    """
    if x.dim() != 4 or groups < 1 or x.shape[1] % groups:
        raise _misshapen(x, groups)
    cells, factors = x.shape[2] * x.shape[3], (1, groups, 1, 1)
    if not cells:
        raise _misshapen(x, groups)
    if weight.shape != factors or bias.shape != factors:  # a view takes longer than asking
        weight, bias = weight.view(factors), bias.view(factors)
    y = x.float() if x.dtype.itemsize < 4 else x
    centred, total = _similarity(y, groups)
    # centred is cells * root * std long, so the formula is root * centred * scale + bias.
    root: Any = torch.sym_max(cells - 1, 1) ** 0.5  # math.sqrt would fix the size in an export
    norm = torch.linalg.vector_norm(centred, dim=(2, 3), keepdim=True)
    # On constant maps std stays below 3 roundings of s; less than 16 says nothing of the map.
    constant = norm <= total * (16 * torch.finfo(y.dtype).eps * root / cells)
    scale = (weight / (norm + eps * root * cells)).masked_fill_(constant, 0)
    # addcmul takes twice as long over factors that are one number a map.
    gate = torch.add(bias, centred * scale, alpha=root).sigmoid_()
    return gate if gate.dtype == x.dtype else gate.to(x.dtype)


def _similarity(x: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Return s_p - mean(s), (B, G, H, W), and sum(s), (B, G, 1, 1), both times the cells of a map.

    What is summed up over the positions serves as the descriptor, in place of the mean.
    """
    batch, channels, height, width = x.shape
    size, cells = channels // groups, height * width
    if torch.compiler.is_compiling():
        # One fused loop, whose plain sums round too much unless the mean is nearly taken off
        # before; factors, because a division is repeated at each cell.
        y = x.reshape(batch, groups, size, cells)
        descriptor = y.sum(3, keepdim=True)
        total = descriptor.square().sum(2)
        similarity = (descriptor * y).sum(2) - total * (1 / cells)
        similarity = similarity.view(batch, groups, height, width)
        mean = similarity.sum((2, 3), keepdim=True) * (1 / cells)
        return similarity - mean, total.view(batch, groups, 1, 1)
    descriptor = x.sum((2, 3))
    if batch == 1 or x.is_contiguous() or x.device.type != "cpu":
        row = descriptor.view(batch * groups, 1, size)
        products = _products(row, x.reshape(batch * groups, size, cells))
    else:
        # channels_last: a product for each picture reads its map as it lies, one for all copies it.
        rows, maps = descriptor.view(batch, groups, 1, size), x.reshape(batch, groups, size, cells)
        products = torch.stack([_products(row, y) for row, y in zip(rows, maps, strict=True)])
    similarity = products.view(batch, groups, height, width)
    total = similarity.sum((2, 3), keepdim=True)
    return similarity.sub_(total, alpha=1 / cells), total


def _products(rows: Tensor, maps: Tensor) -> Tensor:
    """Multiply in the dtype given, also where autocast takes 16 bits, in which they overflow."""
    products = torch.bmm(rows, maps)
    if products.dtype == maps.dtype:  # asking for autocast beforehand takes longer than it seems
        return products
    with torch.autocast(maps.device.type, enabled=False):
        return torch.bmm(rows, maps)


def _misshapen(x: Tensor, groups: int) -> ValueError:
    if x.dim() != 4 or not x.shape[2] * x.shape[3]:
        return ValueError(
            "SGE needs a feature map of shape (B, C, H, W) with at least one cell, not "
            f"{tuple(x.shape)}."
        )
    return ValueError(
        f"SGE cannot split {x.shape[1]} channels into {groups} equal groups: "
        "choose a number of groups that divides the channels."
    )


def apply_gate(x: Tensor, gate: Tensor) -> Tensor:
    """Multiply every channel of ``x`` by its group's gate, in the memory format of ``x``."""
    return (_by_group(x, gate.shape[1]) * gate.unsqueeze(2)).flatten(1, 2)


def add_gated(x: Tensor, gate: Tensor, identity: Tensor, out: Tensor | None = None) -> Tensor:
    """Return ``identity`` plus ``x`` with every channel multiplied by its group's gate.

    One pass over the maps, (B, C, H, W); product and sum may be rounded once instead of twice.

    Args:
        x: Feature map.
        gate: Its gate, (B, G, H, W).
        identity: What a residual block adds.
        out: Where to write the result, such as ``x`` itself; None makes a new map.
    """
    maps = (_by_group(identity, gate.shape[1]), _by_group(x, gate.shape[1]), gate.unsqueeze(2))
    if out is None:
        return torch.addcmul(*maps).flatten(1, 2)
    torch.addcmul(*maps, out=_by_group(out, gate.shape[1]))
    return out


def _by_group(x: Tensor, groups: int) -> Tensor:
    """View (B, C, H, W) as (B, groups, C / groups, H, W)."""
    batch, channels, height, width = x.shape
    return x.view(batch, groups, channels // groups, height, width)


def enhance(
    x: Tensor, weight: Tensor, bias: Tensor, groups: int, identity: Tensor | None = None
) -> Tensor:
    """Return ``x`` times its gate, plus ``identity`` if there is one.

    All that SGE does, as one function to compile. Like `spatial_gate` and `add_gated`; with an
    identity and without gradients the result takes the place of ``x``.
    """
    return _apply(x, spatial_gate(x, weight, bias, groups), identity)


def _reorder(
    x: Tensor, weight: Tensor, bias: Tensor, groups: int, identity: Tensor | None = None
) -> Tensor:
    """Do as `enhance` to a channels_last map, channel by channel, where one graph is faster."""
    identity = None if identity is None else identity.contiguous()
    out = enhance(x.contiguous(), weight, bias, groups, identity)
    return out.contiguous(memory_format=torch.channels_last)


def _apply(x: Tensor, gate: Tensor, identity: Tensor | None) -> Tensor:
    if identity is None:
        return apply_gate(x, gate)
    return add_gated(x, gate, identity, out=None if torch.is_grad_enabled() else x)


_compiled: dict[_Step, dict[tuple[Hashable, ...], _Step]] = {}


def compile_for(key: tuple[Hashable, ...], step: _Step) -> _Step:
    """Return ``step``, compiled for tensors of the sizes that ``key`` names.

    A graph with the sizes as constants is faster than one for every size. torch.compile keeps a
    function's graphs with its code object, tries them in turn and makes eight of them at most, so
    each key gets a copy. After 64 of them ``step`` itself serves the others.
    """
    compiled = _compiled.setdefault(step, {})
    if key not in compiled:
        if len(compiled) >= _COMPILED_SIZES:
            return step
        code = step.__code__.replace(co_name=f"{step.__name__}_{len(compiled)}")
        copy = types.FunctionType(code, step.__globals__, argdefs=step.__defaults__)
        # The functions that these refer to stay: to ask at each call takes as long as a small map.
        # Convolutions are faster on maps as they lie than on those reordered for each.
        options: dict[str, Any] = {
            "guard_filter_fn": torch.compiler.skip_guard_on_globals_unsafe,
            "layout_optimization": False,
        }
        compiled.setdefault(key, torch.compile(copy, options=options))
    return compiled[key]


def _compile(step: _Step, x: Tensor, groups: int) -> _Step:
    """Return ``step`` of an SGE module, compiled for any batch of maps of the size of ``x``.

    On the CPU without gradients the plain function serves channels_last maps, where it is as fast;
    with gradients, these are reordered.
    """
    if torch.compiler.is_compiling():
        return step
    if not x.is_contiguous() and x.device.type == "cpu":
        last = x.is_contiguous(memory_format=torch.channels_last)
        if not last or not torch.is_grad_enabled() or step is not enhance:
            return step
        step = _reorder
    return compile_for((x.dtype, groups, x.shape[1:]), step)


def are_watched(*modules: nn.Module) -> bool:
    """Whether hooks, or methods set on a module itself, want to see these modules called."""
    if _has_any_global_hook():  # type: ignore[no-untyped-call]
        return True
    for module in modules:
        if module._forward_hooks or module._forward_pre_hooks:
            return True
        if module._backward_hooks or module._backward_pre_hooks:
            return True
        if not _METHODS.isdisjoint(module.__dict__):
            return True
    return False


class GatePoint(nn.Module):
    """Where a module's gate passes through, on its way to the map that it multiplies."""

    def forward(self, gate: Tensor, x: Tensor) -> Tensor:
        """Return ``gate``, (B, G, H, W); ``x``, (B, C, H, W), is there for hooks to read."""
        return gate


class SpatialGroupEnhance(nn.Module):
    """Let every group of channels sharpen where it fires: ``x * spatial_gate(x)``.

    The gate passes through ``gate_point``, a submodule that changes nothing, before it multiplies
    ``x``. A forward hook there reads the gate, and ``x`` beside it in the inputs; a gate that the
    hook returns takes its place. It must copy what it keeps of ``x``, which the caller may change.

    Attributes:
        groups: Number of groups G.
        weight: gamma, shape (1, G, 1, 1), starts at 0.
        bias: beta, shape (1, G, 1, 1), starts at 1, so that every gate starts at 0.731.
        gate_point: What the gate, shape (B, G, H, W), passes through unchanged.
    """

    def __init__(self, groups: int = 64, *, compile: bool = False) -> None:
        """Make a module for any number of channels that ``groups`` divides.

        Args:
            groups: Number of groups, at least 1.
            compile: Run with torch.compile, which needs a C++ compiler, and some seconds at the
                first map of each size. All modules share what is compiled, for 64 sizes of map.
                Where hooks look at ``gate_point``, several graphs do the work of one, which may
                round differently. Further sizes, networks compiled or exported as a whole and
                channels_last maps on the CPU without gradients use the plain functions.

        Raises:
            ValueError: If ``groups`` is below 1.
        """
        super().__init__()
        if groups < 1:
            raise ValueError(f"SGE needs at least 1 group, not {groups}.")
        self.groups = groups
        self.compiled = compile
        self.weight = nn.Parameter(torch.zeros(1, groups, 1, 1))
        self.bias = nn.Parameter(torch.ones(1, groups, 1, 1))
        self.gate_point = GatePoint()

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x``, (B, C, H, W), times its gate, in the dtype and memory format of ``x``."""
        return self._enhance(x)

    def add_(self, x: Tensor, identity: Tensor) -> Tensor:
        """Return ``self(x) + identity`` for a residual block, which needs ``x`` no more.

        As `add_gated`, and without gradients in the place of ``x``; but where hooks on the module
        want to see what it gives, that is made first.

        Args:
            x: Feature map, (B, C, H, W).
            identity: What a residual block adds to it, likewise.
        """
        if torch.compiler.is_compiling() or self._is_watched():
            enhanced: Tensor = self(x)
            return enhanced + identity  # not in place: who looks may keep what was given
        return self._enhance(x, identity)

    def is_plain(self) -> bool:
        """Whether `enhance` does all that a call does: no hooks, no subclass, no other forward."""
        watched = self._is_watched() or are_watched(self.gate_point)
        return type(self) is SpatialGroupEnhance and not watched

    def _enhance(self, x: Tensor, identity: Tensor | None = None) -> Tensor:
        watched = torch.compiler.is_compiling() or are_watched(self.gate_point)
        if watched or type(self) is not SpatialGroupEnhance:  # whose gate may be another
            return self._step(_apply, x)(x, self._gate(x), identity)
        return self._step(enhance, x)(x, self.weight, self.bias, self.groups, identity)

    def _gate(self, x: Tensor) -> Tensor:
        compute = self._step(spatial_gate, x)
        gate: Tensor = self.gate_point(compute(x, self.weight, self.bias, self.groups), x)
        return gate

    def _step(self, function: _Step, x: Tensor) -> _Step:
        return _compile(function, x, self.groups) if self.compiled else function

    def _is_watched(self) -> bool:
        """Whether hooks want to see a call, or the forward is another than that of this class."""
        replaced = getattr(self.forward, "__func__", None) is not SpatialGroupEnhance.forward
        return replaced or are_watched(self)

    def extra_repr(self) -> str:
        """Name the settings in the printed module."""
        return f"groups={self.groups}, compile={self.compiled}"
