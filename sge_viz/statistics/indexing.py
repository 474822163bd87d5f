"""Make an index of a pass's strongest pictures: names, thumbnails and maps of the chosen only."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from sge_viz.capture import capture
from sge_viz.images import ModelInput, open_picture, prepare
from sge_viz.maps import GroupMaps
from sge_viz.statistics.folder import Folder
from sge_viz.statistics.index import Index, IndexedLayer, Maps
from sge_viz.statistics.moments import Counts
from sge_viz.statistics.provenance import provenance
from sge_viz.statistics.strongest import NOBODY, Strongest
from sge_viz.statistics.survey import Outcome, Progress

JPEG_QUALITY = 85


def make_index(
    model: nn.Module,
    folder: Folder,
    outcome: Outcome,
    *,
    thumbnails: int = 112,
    maps: bool = False,
    progress: Progress | None = None,
) -> Index:
    """Make an index of a survey whose plan asked for strongest pictures.

    Args:
        model: The network; run again over the chosen pictures if `maps` is set.
        folder: The pictures.
        outcome: Of the survey.
        thumbnails: Side in pixels of what is kept of each chosen picture; 0 for none.
        maps: Keep the chosen pictures' maps too, so that overlays need neither network nor files.
        progress: Called after each chosen picture that is opened again.

    Raises:
        ValueError: Not a single picture could be read.
    """
    if not outcome.counted:
        raise ValueError("Not a single picture could be read, so there is nothing to index.")
    record = provenance(model, folder, outcome)
    kept = outcome.tallies.strongest
    chosen = np.unique(np.concatenate([s.place[s.place != NOBODY] for s in kept.values()]))
    layers = {
        path: _layer(strongest, chosen, record["layers"][path], len(folder.classes))
        for path, strongest in kept.items()
    }
    drawn = _Drawn(model, layers, thumbnails, maps)
    if thumbnails or maps:
        for number, place in enumerate(chosen):
            drawn.add(number, prepare(open_picture(folder.root / folder.paths[place])))
            if progress:
                progress(1, 0)
    return Index(
        layers=drawn.layers(),
        paths=tuple(folder.paths[place] for place in chosen),
        labels=folder.labels[chosen],
        thumbnails=tuple(drawn.thumbnails) if thumbnails else None,
        provenance=record,
    )


def _layer(
    strongest: Strongest, chosen: Counts, info: dict[str, Any], classes: int
) -> IndexedLayer:
    there = strongest.place != NOBODY
    picture = np.where(there, np.searchsorted(chosen, strongest.place), -1)
    total = strongest.by_class.fold()
    of_class = np.where(strongest.by_class.count > 0, strongest.by_class.mean, np.nan)
    height, width = info["map_size"]
    return IndexedLayer(
        title=str(info["title"]),
        map_size=(height, width),
        score=strongest.score,
        picture=picture,
        cell=strongest.cell,
        class_mean=of_class[:classes],
        mean=total.mean,
        std=total.std,
    )


class _Drawn:
    """Thumbnails and maps of the chosen pictures, in their order."""

    def __init__(
        self, model: nn.Module, layers: dict[str, IndexedLayer], side: int, maps: bool
    ) -> None:
        self._model, self._layers, self._side, self._with_maps = model, layers, side, maps
        self.thumbnails: list[bytes] = []
        self._before: dict[str, list[np.ndarray]] = {path: [] for path in layers}
        self._gate: dict[str, list[np.ndarray]] = {path: [] for path in layers}
        self._entry = {path: np.full(of.score.shape, -1) for path, of in layers.items()}

    def add(self, number: int, prepared: ModelInput) -> None:
        """Draw the next chosen picture."""
        if self._side:
            self.thumbnails.append(_jpeg(prepared.view(), self._side))
        if not self._with_maps:
            return
        device = next(self._model.parameters()).device
        with torch.inference_mode(), capture(self._model, list(self._layers)) as seen:
            self._model(prepared.tensor.to(device))
        for path, of in self._layers.items():
            for group in np.unique(np.nonzero(of.picture == number)[1]):
                self._keep(path, int(group), of.picture[:, group] == number, seen[path])

    def _keep(self, path: str, group: int, where: np.ndarray, maps: GroupMaps) -> None:
        assert maps.gate is not None
        self._entry[path][:, group][where] = len(self._before[path])
        self._before[path].append(maps.before[0, group].numpy().astype(np.float16))
        self._gate[path].append(maps.gate[0, group].numpy().astype(np.float16))

    def layers(self) -> dict[str, IndexedLayer]:
        """Return the layers with their maps, if there are any."""
        if not self._with_maps:
            return self._layers
        found = {}
        for path, of in self._layers.items():
            before, gate = (np.stack(maps[path]) for maps in (self._before, self._gate))
            found[path] = replace(of, maps=Maps(self._entry[path], before, gate))
        return found


def _jpeg(view: Image.Image, side: int) -> bytes:
    buffer = BytesIO()
    small = view.resize((side, side), Image.Resampling.LANCZOS)
    small.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()
