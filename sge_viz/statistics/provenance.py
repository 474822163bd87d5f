"""Where numbers come from: weights, pictures, settings and versions, without paths of a machine."""

from __future__ import annotations

from typing import Any

import boost_histogram
from torch import nn

from sge_viz.resnet import layers
from sge_viz.statistics.folder import Folder
from sge_viz.statistics.survey import Outcome
from sge_viz.versions import versions

PREPROCESSING = (
    "RGB; shorter side resized to 256 px (bilinear), centre crop of 224x224 px; mean (0.485, "
    "0.456, 0.406), standard deviation (0.229, 0.224, 0.225)"
)


def provenance(model: nn.Module, folder: Folder, outcome: Outcome) -> dict[str, Any]:
    """Tell all that is needed to take the same numbers again."""
    card = getattr(model, "card", None)
    of_card = ("name", "title", "architecture", "sha256", "published", "top1", "top5")
    return {
        "checkpoint": {name: getattr(card, name) for name in of_card} if card else None,
        "weights_sha256": outcome.job.weights,
        "weights_sha256_of": "all parameters and buffers with their names, types and shapes",
        "folder": folder.root.resolve().name,
        "pictures": len(folder),
        "counted": outcome.counted,
        "refused": [{"path": r.path, "reason": r.reason} for r in outcome.refused],
        "picture_list_sha256": folder.sha256,
        "classes": list(folder.classes),
        "preprocessing": PREPROCESSING,
        "job": outcome.job.record(),
        "layers": _titles(model, outcome),
        "versions": versions() | {"boost_histogram": boost_histogram.__version__},
    }


def _titles(model: nn.Module, outcome: Outcome) -> dict[str, dict[str, Any]]:
    """Name each layer in both ways, with its map's size."""
    try:
        names = {layer.path: layer for layer in layers(model)}
    except ValueError:  # another network has no names from the paper
        names = {}
    found = {}
    for path, (height, width) in outcome.tallies.map_sizes.items():
        known = names.get(path)
        title = known.title(height, width) if known else f"{path}, {height}x{width}"
        found[path] = {"title": title, "map_size": [height, width]}
    return found


def is_published(record: dict[str, Any]) -> bool:
    """Whether the numbers come from the authors' own weights."""
    return bool((record.get("checkpoint") or {}).get("published"))
