"""The statistics of a run as one file: arrays, definitions and provenance."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from sge_viz.statistics.definitions import array_definitions
from sge_viz.statistics.folder import Folder
from sge_viz.statistics.layer import LayerStatistics
from sge_viz.statistics.moments import Arrays
from sge_viz.statistics.provenance import is_published, provenance
from sge_viz.statistics.settings import Settings
from sge_viz.statistics.shards import UNREADABLE, replacing
from sge_viz.statistics.survey import Outcome

_KIND = "sge-viz statistics"


class BadResult(ValueError):  # noqa: N818 - the text is the sentence a person reads
    """A file that is not a statistics result, or a damaged one."""


@dataclass(frozen=True, eq=False)
class Result:
    """Statistics of a network over a folder of pictures.

    Attributes:
        layers: Each layer's statistics by path, in forward order.
        settings: How they were taken.
        provenance: Weights, pictures, refused pictures, versions.
    """

    layers: Mapping[str, LayerStatistics]
    settings: Settings
    provenance: dict[str, Any]

    @classmethod
    def of(cls, model: nn.Module, folder: Folder, outcome: Outcome) -> Result:
        """Make it of a survey whose plan asked for statistics.

        Raises:
            ValueError: Not a single picture could be read.
        """
        if not outcome.counted:
            raise ValueError("Not a single picture could be read, so there are no statistics.")
        layers = outcome.tallies.statistics
        settings = next(iter(layers.values())).settings
        return cls(layers, settings, provenance(model, folder, outcome))

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the class folders; none without classes."""
        return tuple(self.provenance["classes"])

    @property
    def published(self) -> bool:
        """Whether the weights are the authors' own."""
        return is_published(self.provenance)

    def layer(self, path: str | None = None) -> tuple[str, LayerStatistics]:
        """Return a layer's path and statistics; the last layer's for None.

        Raises:
            ValueError: It is not in this result.
        """
        known = list(self.layers)
        path = known[-1] if path is None else path.removesuffix(".sge")
        if path not in self.layers:
            raise ValueError(f"The result has no layer {path!r}; it has {', '.join(known)}.")
        return path, self.layers[path]

    def title(self, path: str) -> str:
        """Name a layer in both ways: "layer3.5: stage 4 (conv4_x), 14x14"."""
        title: str = self.provenance["layers"][path]["title"]
        return title

    def save(self, path: Path) -> None:
        """Write it as .npz; the file appears whole or not at all.

        Beside the arrays, named "layer3.5/norm_before/mean" and so on, it holds each moment's
        variance, the grids' edges, and `manifest`, a JSON text with settings, provenance and
        definitions.
        """
        arrays: Arrays = {}
        for layer, statistics in self.layers.items():
            of_layer = statistics.arrays()
            for name, moments in statistics.moments().items():
                of_layer[f"{name}/variance"] = moments.variance
            arrays |= {f"{layer}/{name}": array for name, array in of_layer.items()}
        arrays["edges"] = self.settings.grid.edges
        arrays["class_edges"] = self.settings.class_grid.edges
        with replacing(path) as file:
            text = np.array(json.dumps(self.manifest(), indent=2))
            np.savez_compressed(file, allow_pickle=False, manifest=text, **arrays)

    def manifest(self) -> dict[str, Any]:
        """Return settings, provenance and definitions as plain values."""
        return {
            "kind": _KIND,
            "settings": self.settings.record(),
            "provenance": self.provenance,
            "definitions": array_definitions(self.settings),
        }

    @classmethod
    def load(cls, path: str | Path) -> Result:
        """Read what `save` wrote, or the result.npz of a folder that `stats --out` wrote.

        Raises:
            BadResult: There is no such file, or it is no statistics result, or damaged.
        """
        path = Path(path)
        path = path / "result.npz" if path.is_dir() else path
        try:
            with np.load(path, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
            manifest = json.loads(str(arrays.pop("manifest")))
            if manifest["kind"] != _KIND:
                raise KeyError("kind")
            settings = Settings.of_record(manifest["settings"])
            layers = {
                layer: LayerStatistics.from_arrays(
                    {
                        name.removeprefix(f"{layer}/"): array
                        for name, array in arrays.items()
                        if name.startswith(f"{layer}/")
                    },
                    settings,
                )
                for layer in manifest["provenance"]["job"]["plan"]["layers"]
            }
        except FileNotFoundError as error:
            raise BadResult(f"{path} does not exist: run `stats` first.") from error
        except UNREADABLE as error:
            raise BadResult(
                f"{path} is not a result of `stats`, or it is damaged: make it again."
            ) from error
        return cls(layers, settings, manifest["provenance"])
