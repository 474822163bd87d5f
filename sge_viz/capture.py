"""Record every group's maps during a forward pass.

with capture(model) as seen:
    model(x)
seen["layer3.5"].after
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from torchvision.models.resnet import BasicBlock, Bottleneck  # type: ignore[import-untyped]

from sge_viz.maps import GroupMaps
from sge_viz.sge import SpatialGroupEnhance

# torch numbers hooks by a counter without a lock: two threads at once could get the same number.
HOOK_LOCK = threading.Lock()
"""Held by whoever adds, removes or copies a module's hooks."""


class UnknownLayerError(KeyError):
    """A layer that was asked for is not there; the text says which there are."""

    def __str__(self) -> str:
        """Return the sentence itself, which KeyError would put in quotes."""
        return str(self.args[0])


class Seen(Mapping[str, GroupMaps]):
    """The maps of the layers that ran in the latest forward pass, in the order in which they ran.

    Keys are block paths, such as "layer3.5"; the path of the SGE module itself, "layer3.5.sge",
    finds the same maps.
    """

    def __init__(self, chosen: tuple[str, ...], known: tuple[str, ...]) -> None:
        self._chosen = chosen
        self._known = known
        self._maps: dict[str, GroupMaps] = {}

    def __getitem__(self, layer: str) -> GroupMaps:
        key = layer.removesuffix(".sge") if isinstance(layer, str) else layer
        if key in self._maps:
            return self._maps[key]
        if key in self._chosen:
            raise UnknownLayerError(
                f"{key} has not run: run the network inside the with block, in the same thread "
                "and not through torch.compile, whose graphs pass hooks by."
            )
        if key in self._known:
            raise UnknownLayerError(
                f"{key} was not chosen for this capture, only {', '.join(self._chosen)}."
            )
        raise UnknownLayerError(_unknown(layer, self._known))

    def __iter__(self) -> Iterator[str]:
        return iter(self._maps)

    def __len__(self) -> int:
        return len(self._maps)


@contextmanager
def capture(
    model: nn.Module, layers: str | Iterable[str] | None = None, *, groups: int = 64
) -> Iterator[Seen]:
    """Record the maps of SGE's groups while the block runs.

    Any number of forward passes may run inside; what is kept is the latest pass of the thread that
    opened the block. The gate is the one that the module used: open the capture after registering
    hooks that change a gate, so that it reads theirs.

    In a network without SGE the output of the last batch norm of every torchvision ResNet block is
    split into groups, for comparison; there is no gate then.

    The answer stays the same to the bit; with SGE modules made with ``compile=True``, but for the
    rounding of other graphs. A network compiled as a whole by torch.compile is refused, because its
    graphs do not call hooks.

    Args:
        model: A network with SpatialGroupEnhance modules, or with torchvision's ResNet blocks.
        layers: Paths to record, such as "layer3.5"; None means all.
        groups: Number of groups in a network without SGE.

    Yields:
        The maps by layer, filled by each forward pass.

    Raises:
        UnknownLayerError: If a chosen layer does not exist (a KeyError).
        ValueError: If the model has neither SGE modules nor ResNet blocks, or is compiled.
    """
    points = _points(model)
    chosen = choose_layers(layers, tuple(points))
    recorder = _Recorder(model, Seen(chosen, tuple(points)), groups)
    with _hooks(model, {path: points[path] for path in chosen}, recorder.store, recorder.begin):
        yield recorder.seen


@dataclass(frozen=True, eq=False)
class Reading:
    """What one layer computes in a forward pass, on the model's device.

    The tensors are the network's own: they hold only while `watch` hands them over, because the
    block overwrites them in place afterwards.

    Attributes:
        layer: Block path, such as "layer3.5".
        x: What SGE is given (without SGE: the block's last batch norm's output), (B, C, H, W).
        gate: The gate that multiplies it, expandable to (B, G, H, W); None without SGE.
        sge: The module; None without SGE.
    """

    layer: str
    x: Tensor
    gate: Tensor | None = None
    sge: SpatialGroupEnhance | None = None


@contextmanager
def watch(
    model: nn.Module,
    receive: Callable[[Reading], None],
    layers: str | Iterable[str] | None = None,
    *,
    begin: Callable[[tuple[object, ...]], None] | None = None,
) -> Iterator[None]:
    """Hand every chosen layer's reading to `receive` as it is computed, while the block runs.

    Only passes of the thread that opened the block are handed over. `capture` keeps maps this way;
    statistics over a data set, which reduce a layer at once, take the readings themselves.

    Args:
        model: As for `capture`.
        receive: Called once a layer in forward order, without gradients; it must keep copies only.
        layers: As for `capture`.
        begin: Called with the model's positional arguments before each pass.

    Raises:
        UnknownLayerError: If a chosen layer does not exist (a KeyError).
        ValueError: If the model has neither SGE modules nor ResNet blocks, or is compiled.
    """
    points = _points(model)
    chosen = {path: points[path] for path in choose_layers(layers, tuple(points))}
    with _hooks(model, chosen, receive, begin):
        yield


@contextmanager
def _hooks(
    model: nn.Module,
    points: dict[str, nn.Module],
    receive: Callable[[Reading], None],
    begin: Callable[[tuple[object, ...]], None] | None,
) -> Iterator[None]:
    """Keep hooks on the points while the block runs, however it ends."""
    tap = _Tap(receive)
    handles: list[RemovableHandle] = []
    try:
        with HOOK_LOCK:
            if begin is not None:
                handles.append(model.register_forward_pre_hook(tap.starter(begin)))
            for path, point in points.items():
                tap.attach(path, point, handles)
        yield
    finally:
        with HOOK_LOCK:
            for handle in handles:
                handle.remove()


def _points(model: nn.Module) -> dict[str, nn.Module]:
    """Return the modules to watch by layer path: SGE modules, else blocks' last batch norms."""
    modules = dict(model.named_modules())
    if any("_orig_mod" in m._modules or m._compiled_call_impl for m in modules.values()):
        raise ValueError(
            "This network was compiled by torch.compile, whose graphs do not call hooks: give the "
            "network it was made from (its _orig_mod), or one that is not compiled."
        )
    points: dict[str, nn.Module] = {
        path.removesuffix(".sge") or "sge": module
        for path, module in modules.items()
        if isinstance(module, SpatialGroupEnhance)
    }
    if points:
        return points
    for path, module in modules.items():
        if isinstance(module, Bottleneck):
            points[path] = module.bn3
        elif isinstance(module, BasicBlock):
            points[path] = module.bn2
    if not points:
        raise ValueError(
            f"This {type(model).__name__} has neither SGE modules nor torchvision's ResNet blocks: "
            "there are no groups to capture."
        )
    return points


def choose_layers(layers: str | Iterable[str] | None, known: tuple[str, ...]) -> tuple[str, ...]:
    """Return the layers that were asked for, in forward order.

    Args:
        layers: Paths, also those of the SGE modules themselves; None means all.
        known: The network's layers in forward order.

    Raises:
        UnknownLayerError: A layer is not among them.
    """
    if layers is None:
        return known
    wanted = [layers] if isinstance(layers, str) else list(layers)
    for layer in wanted:
        if not isinstance(layer, str) or layer.removesuffix(".sge") not in known:
            raise UnknownLayerError(_unknown(layer, known))
    return tuple(path for path in known if path in {layer.removesuffix(".sge") for layer in wanted})


def _unknown(layer: object, known: tuple[str, ...]) -> str:
    return f"There is no layer {layer!r} in this network; it has {', '.join(known)}."


class _Tap:
    """The hooks of one watch. They act only in the thread that made it."""

    def __init__(self, receive: Callable[[Reading], None]) -> None:
        self._receive = receive
        self._thread = threading.current_thread()

    def starter(
        self, begin: Callable[[tuple[object, ...]], None]
    ) -> Callable[[nn.Module, tuple[object, ...]], None]:
        """Make the hook that announces a pass."""

        def start(_: nn.Module, inputs: tuple[object, ...]) -> None:
            if threading.current_thread() is self._thread:
                begin(inputs)

        return start

    def attach(self, path: str, module: nn.Module, handles: list[RemovableHandle]) -> None:
        """Register the hook of one layer."""
        if isinstance(module, SpatialGroupEnhance):
            sge = module

            # At the gate: a hook on the module would keep the block from working in place.
            def gated(_: nn.Module, inputs: tuple[Tensor, Tensor], gate: Tensor) -> None:
                if threading.current_thread() is self._thread:
                    self._hand_over(Reading(path, inputs[1], gate, sge))

            handles.append(sge.gate_point.register_forward_hook(gated))
        else:

            def plain(_: nn.Module, __: tuple[Tensor, ...], out: Tensor) -> None:
                if threading.current_thread() is self._thread:
                    self._hand_over(Reading(path, out))

            handles.append(module.register_forward_hook(plain))

    def _hand_over(self, reading: Reading) -> None:
        # Leaving inference mode makes what is kept of it ordinary tensors.
        with torch.inference_mode(False), torch.no_grad():
            self._receive(reading)


class _Recorder:
    """Keeps the maps of one capture."""

    def __init__(self, model: nn.Module, seen: Seen, groups: int) -> None:
        card = getattr(model, "card", None)
        self.seen = seen
        self._groups = groups
        self._checkpoint: str | None = getattr(card, "name", None)
        self._input_size: tuple[int, int] | None = None

    def begin(self, inputs: tuple[object, ...]) -> None:
        """Forget the pass before when the model starts a new one."""
        self.seen._maps.clear()
        first = inputs[0] if inputs else None
        self._input_size = None
        if isinstance(first, Tensor) and first.dim() >= 2:
            self._input_size = (first.shape[-2], first.shape[-1])

    def store(self, reading: Reading) -> None:
        """Reduce a feature map to its groups' norms at once: the block overwrites it in place."""
        path, sge = reading.layer, reading.sge
        before = group_norms(reading.x, sge.groups if sge else self._groups, path)
        before = before.to("cpu", torch.float32)
        gate = after = gamma = beta = None
        if sge and reading.gate is not None:
            gate = _keep(reading.gate.expand_as(before))
            after = gate.abs().mul_(before)
            gamma, beta = _keep(sge.weight.flatten()), _keep(sge.bias.flatten())
        self.seen._maps.pop(path, None)
        self.seen._maps[path] = GroupMaps(
            path, before, gate, after, gamma, beta, self._input_size, self._checkpoint
        )


def group_norms(x: Tensor, groups: int, path: str = "the layer") -> Tensor:
    """Return the Euclidean norm over each group's channels at every position.

    Args:
        x: Feature map, shape (B, C, H, W).
        groups: Number of groups of neighbouring channels.
        path: Name of the layer, for the error.

    Returns:
        Norms, shape (B, groups, H, W), at least float32, on the device of ``x``.

    Raises:
        ValueError: If ``groups`` does not divide the channels.
    """
    if groups < 1 or x.shape[1] % groups:
        raise ValueError(
            f"The {x.shape[1]} channels of {path} cannot be split into {groups} equal groups."
        )
    dtype = torch.promote_types(x.dtype, torch.float32)
    batch, channels, height, width = x.shape
    y = x.view(batch, groups, channels // groups, height, width)
    # Several times faster than torch.linalg.vector_norm over a dimension in the middle.
    return y.to(dtype).square().sum(2).sqrt_()


def _keep(values: Tensor) -> Tensor:
    return values.detach().to("cpu", torch.float32, copy=True)
