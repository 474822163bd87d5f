"""What the page asks for: explanations of pictures, remembered, one network pass at a time."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import TypeVar

from torch import nn

from sge_viz.checkpoints import available, load_model
from sge_viz.evidence.trace import Trace, trace
from sge_viz.explain import Explanation, explain
from sge_viz.images import open_picture
from sge_viz.selection import parse_size

Source = str | bytes | None
T = TypeVar("T")

TRACES = 2
"""Passes kept whole for evidence, 44 MB each at 224 px and 16 times as much at 896 px."""


class Studio:
    """Loads networks and explains pictures for any number of visitors.

    Nothing belongs to a visitor: an answer depends only on the picture, the weights and the
    input size, so the same question asked again (another layer, another figure) costs no
    forward pass. Networks and explanations are kept in two bounded caches, least recently used
    out first.

    Args:
        models: How many networks stay in memory.
        memory: How many bytes of explanations stay in memory.
    """

    def __init__(self, models: int = 2, memory: int = 768 * 2**20) -> None:
        self._lock = threading.Lock()
        self._models: OrderedDict[Hashable, nn.Module] = OrderedDict()
        self._explanations: OrderedDict[Hashable, Explanation] = OrderedDict()
        self._traces: OrderedDict[Hashable, Trace] = OrderedDict()
        self._model_limit, self._memory_limit = models, memory

    def explain(self, source: Source, checkpoint: str, size: str | int) -> Explanation:
        """Explain the picture in `source` with the weights named `checkpoint` at `size`.

        Raises:
            BadPicture: The bytes are no picture that we take; says why.
            BadCheckpoint: The weights are broken; says why.
            ValueError: There are no such weights, or no such input size.
        """
        size = parse_size(size)
        weights = _weights(checkpoint)
        key = (_identity(source), _identity(weights), size)
        with self._lock:
            found = self._explanations.get(key)
            if found is not None:
                self._explanations.move_to_end(key)
                return found
        picture = open_picture(source)  # outside the lock: decoding needs no network
        with self._lock:
            if key not in self._explanations:
                explanation = explain(self._model(weights), picture, size)
                self._explanations[key] = explanation
                self._forget()
            return self._explanations[key]

    def consult(
        self, source: Source, checkpoint: str, size: str | int, ask: Callable[[nn.Module, Trace], T]
    ) -> T:
        """Ask something of a network and of its kept pass over a picture.

        The pass is remembered, so another class or another intervention begins where the change
        begins, and not at the picture.

        Raises:
            BadPicture, BadCheckpoint, ValueError: As `explain` does, or as `ask` does.
        """
        explanation = self.explain(source, checkpoint, size)
        weights = _weights(checkpoint)
        key = (_identity(source), _identity(weights), parse_size(size))
        with self._lock:
            model = self._model(weights)
            if key not in self._traces:
                while len(self._traces) >= TRACES:
                    self._traces.popitem(last=False)
                self._traces[key] = trace(model, explanation.input.tensor)
            self._traces.move_to_end(key)
            return ask(model, self._traces[key])

    def _model(self, weights: str) -> nn.Module:
        key = _identity(weights)
        if key not in self._models:
            while len(self._models) >= self._model_limit:
                self._models.popitem(last=False)
            self._models[key] = load_model(Path(weights))
        self._models.move_to_end(key)
        return self._models[key]

    def _forget(self) -> None:
        sizes = [_bytes_of(explanation) for explanation in self._explanations.values()]
        total = sum(sizes)
        for size in sizes[:-1]:
            if total <= self._memory_limit:
                break
            self._explanations.popitem(last=False)
            total -= size


def _weights(checkpoint: str) -> str:
    """Return the path of the weights of this name."""
    paths = {entry.name: entry.path for entry in available()}
    if checkpoint not in paths:
        raise ValueError(
            f"There are no weights named {checkpoint!r} here. Choose one of: "
            f"{', '.join(sorted(paths))}."
        )
    return str(paths[checkpoint])


def _identity(source: Source) -> Hashable:
    """Tell a file's contents from others that it had, without reading them."""
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest()
    if source is None:
        return None
    try:
        status = Path(source).stat()
    except OSError:
        return source  # open_picture says what is wrong with it
    return source, status.st_mtime_ns, status.st_size


def _bytes_of(explanation: Explanation) -> int:
    image = explanation.input.picture.image
    maps = sum(
        tensor.nbytes
        for group_maps in explanation.maps.values()
        for tensor in (group_maps.before, group_maps.gate, group_maps.after)
        if tensor is not None
    )
    return maps + image.width * image.height * 3 + explanation.input.tensor.nbytes
