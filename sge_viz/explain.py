"""One picture through one network: its predictions and every layer's group maps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import nn

from sge_viz.capture import UnknownLayerError, capture
from sge_viz.checkpoints import Card
from sge_viz.classes import Prediction, top5
from sge_viz.images import ModelInput, Picture, prepare
from sge_viz.maps import GroupMaps
from sge_viz.resnet import Layer, layers


@dataclass(frozen=True)
class Explanation:
    """What one forward pass of one network says of one picture.

    Attributes:
        input: What the network was given, and where it lies in the picture.
        card: The weights' record.
        predictions: The five most probable classes, best first (fewer for a smaller head).
        maps: Every layer's group maps by module path, in forward order; batch size 1.
        layers: The same layers' names in the paper, by module path.
    """

    input: ModelInput
    card: Card
    predictions: tuple[Prediction, ...]
    maps: Mapping[str, GroupMaps]
    layers: Mapping[str, Layer]

    @property
    def default_layer(self) -> str:
        """The layer shown first: the last block of the paper's stage 4 (conv4_x)."""
        return [path for path, layer in self.layers.items() if layer.stage == 4][-1]

    def chosen(self, layer: str) -> GroupMaps:
        """Return the maps of `layer`.

        Raises:
            UnknownLayerError: The network has no such layer; lists those it has.
        """
        if layer not in self.maps:
            raise UnknownLayerError(
                f"There is no layer {layer!r} in this network; it has {', '.join(self.maps)}."
            )
        return self.maps[layer]

    def layer_title(self, path: str) -> str:
        """Name a layer in both ways, with its map's size: "layer3.5: stage 4 (conv4_x), 14x14"."""
        height, width = self.chosen(path).before.shape[-2:]
        return self.layers[path].title(height, width)


def explain(
    model: nn.Module,
    picture: Picture,
    size: str | int = "published",
    chosen: Iterable[str] | None = None,
) -> Explanation:
    """Run `picture` through `model` once and record every layer, or the chosen ones.

    Args:
        model: A network from `load_model`; it is run in the mode it is in.
        picture: A picture from `open_picture`.
        size: "published" (shorter side 256, centre crop 224) or the whole picture with its
            shorter side at this many pixels (224 to 896, a multiple of 32).
        chosen: Module paths of the layers to record, such as "layer3.5"; None for all.

    Raises:
        BadPicture: The picture is too large at this size.
        UnknownLayerError: The network has no such layer.
        ValueError: The size is not one of these, or the network is no (SGE-)ResNet.
    """
    prepared = prepare(picture, size)
    parameter = next(model.parameters())
    with torch.inference_mode(), capture(model, chosen) as seen:
        logits = model(prepared.tensor.to(parameter.device, parameter.dtype))
    return Explanation(
        input=prepared,
        card=cast(Card, model.card),
        predictions=top5(logits[0].float()),
        maps=dict(seen),
        layers={layer.path: layer for layer in layers(model)},
    )
