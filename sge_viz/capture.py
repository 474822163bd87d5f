"""Record every group's maps during a forward pass.

with capture(model) as seen:
    model(x)
seen["layer3.5"].after
"""

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from torchvision.models.resnet import BasicBlock, Bottleneck  # type: ignore[import-untyped]

from sge_viz.maps import GroupMaps
from sge_viz.sge import SpatialGroupEnhance

# torch numbers hooks by a counter without a lock: two threads at once could get the same number.
_HOOK_LOCK = threading.Lock()


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
                f"{key} has not run: run the model inside the with block, in the same thread."
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

    Args:
        model: A network with SpatialGroupEnhance modules, or with torchvision's ResNet blocks.
        layers: Paths to record, such as "layer3.5"; None means all.
        groups: Number of groups in a network without SGE.

    Yields:
        The maps by layer, filled by each forward pass.

    Raises:
        UnknownLayerError: If a chosen layer does not exist (a KeyError).
        ValueError: If the model has neither SGE modules nor ResNet blocks.
    """
    points = _points(model)
    chosen = _choose(layers, tuple(points))
    recorder = _Recorder(model, Seen(chosen, tuple(points)), groups)
    with ExitStack() as hooks:
        hooks.callback(_remove, handles := [])
        with _HOOK_LOCK:
            handles.append(model.register_forward_pre_hook(recorder.begin))
            for path in chosen:
                recorder.watch(path, points[path], handles)
        yield recorder.seen


def _remove(handles: list[RemovableHandle]) -> None:
    with _HOOK_LOCK:
        for handle in handles:
            handle.remove()


def _points(model: nn.Module) -> dict[str, nn.Module]:
    """Return the modules to watch by layer path: SGE modules, else blocks' last batch norms."""
    modules = dict(model.named_modules())
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


def _choose(layers: str | Iterable[str] | None, known: tuple[str, ...]) -> tuple[str, ...]:
    if layers is None:
        return known
    wanted = [layers] if isinstance(layers, str) else list(layers)
    for layer in wanted:
        if layer.removesuffix(".sge") not in known:
            raise UnknownLayerError(_unknown(layer, known))
    return tuple(path for path in known if path in {layer.removesuffix(".sge") for layer in wanted})


def _unknown(layer: object, known: tuple[str, ...]) -> str:
    return f"There is no layer {layer!r} in this network; it has {', '.join(known)}."


class _Recorder:
    """The hooks of one capture. They act only in the thread that made the recorder."""

    def __init__(self, model: nn.Module, seen: Seen, groups: int) -> None:
        card = getattr(model, "card", None)
        self.seen = seen
        self._groups = groups
        self._checkpoint: str | None = getattr(card, "name", None)
        self._thread = threading.current_thread()
        self._input_size: tuple[int, int] | None = None
        self._gates: dict[str, Tensor] = {}

    def watch(self, path: str, module: nn.Module, handles: list[RemovableHandle]) -> None:
        """Register the hooks of one layer."""
        if isinstance(module, SpatialGroupEnhance):

            def keep(_: nn.Module, __: tuple[Tensor, ...], gate: Tensor) -> None:
                if threading.current_thread() is self._thread:
                    self._gates[path] = gate

            def record(sge: nn.Module, inputs: tuple[Tensor, ...], _: Tensor) -> None:
                if threading.current_thread() is self._thread:
                    assert isinstance(sge, SpatialGroupEnhance)
                    self._store(path, inputs[0], sge)

            handles.append(module.gate_point.register_forward_hook(keep))
            handles.append(module.register_forward_hook(record))
        else:

            def split(_: nn.Module, __: tuple[Tensor, ...], out: Tensor) -> None:
                if threading.current_thread() is self._thread:
                    self._store(path, out, None)

            handles.append(module.register_forward_hook(split))

    def begin(self, _: nn.Module, inputs: tuple[object, ...]) -> None:
        """Forget the pass before when the model starts a new one."""
        if threading.current_thread() is not self._thread:
            return
        self.seen._maps.clear()
        self._gates.clear()
        first = inputs[0] if inputs else None
        self._input_size = None
        if isinstance(first, Tensor) and first.dim() >= 2:
            self._input_size = (first.shape[-2], first.shape[-1])

    def _store(self, path: str, x: Tensor, sge: SpatialGroupEnhance | None) -> None:
        """Reduce a feature map to its groups' norms at once: the block overwrites it in place."""
        # Leaving inference mode makes the kept tensors ordinary ones.
        with torch.inference_mode(False), torch.no_grad():
            before = _norms(x, sge.groups if sge else self._groups, path)
            gate = after = gamma = beta = None
            if sge:
                gate = _keep(self._gates.pop(path).expand_as(before))
                after = gate.abs() * before
                gamma, beta = _keep(sge.weight.flatten()), _keep(sge.bias.flatten())
        self.seen._maps.pop(path, None)
        self.seen._maps[path] = GroupMaps(
            path, before, gate, after, gamma, beta, self._input_size, self._checkpoint
        )


def _norms(x: Tensor, groups: int, path: str) -> Tensor:
    if x.shape[1] % groups:
        raise ValueError(
            f"The {x.shape[1]} channels of {path} cannot be split into {groups} equal groups."
        )
    dtype = torch.promote_types(x.dtype, torch.float32)
    batch, channels, height, width = x.shape
    y = x.view(batch, groups, channels // groups, height, width)
    norms: Tensor = torch.linalg.vector_norm(y, dim=2, dtype=dtype)
    return norms.to("cpu", torch.float32)


def _keep(values: Tensor) -> Tensor:
    return values.detach().to("cpu", torch.float32, copy=True)
