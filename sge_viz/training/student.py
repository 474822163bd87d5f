"""The student: a ResNet that is asked at every place of its last map, not only for its mean."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.resnet import ResNet  # type: ignore[import-untyped]

from sge_viz.images import MEAN, STD


@dataclass(frozen=True)
class Weights:
    """How much each part of the distillation loss counts.

    Attributes:
        pooled: Divergence of the picture's class scores from the target's.
        dense: The same at every place of the last map.
        features: 1 - cosine between the student's features, projected, and the teacher's.
    """

    pooled: float = 1.0
    dense: float = 0.5
    features: float = 2.0


class Student(nn.Module):
    """A network under distillation. Its forward pass returns the loss, so that DDP can wrap it."""

    teacher_weight: Tensor
    teacher_bias: Tensor

    def __init__(
        self, network: ResNet, classifier: tuple[Tensor, Tensor], weights: Weights | None = None
    ) -> None:
        """Put a student before a teacher's last layer.

        Args:
            network: What learns; its classes are the teacher's.
            classifier: Weight (K, F) and bias (K,) of the teacher's last layer.
            weights: How much each part of the loss counts.
        """
        super().__init__()
        self.network = network
        self.weights = weights or Weights()
        self.projection = nn.Linear(network.fc.in_features, classifier[0].shape[1])
        self.register_buffer("teacher_weight", classifier[0], persistent=False)
        self.register_buffer("teacher_bias", classifier[1], persistent=False)

    def forward(
        self, pictures: Tensor, features: Tensor, labels: Tensor, label_share: float
    ) -> dict[str, Tensor]:
        """Compare the student with the teacher on a batch of views.

        Args:
            pictures: Views (B, 3, H, W) in [0, 1].
            features: The teacher's features of the same views, (B, F, h, w), with h, w the cells of
                the student's last map.
            labels: First and last ImageNet class that each picture can show, (B, 2).
            label_share: Share, in [0, 1], of the teacher's scores among those classes alone in a
                picture's target; the rest are its scores among all.

        Returns:
            "loss", which is minimised, and its parts without their weights.
        """
        maps = last_map(self.network, normalised(pictures))
        seen = features.flatten(2).transpose(1, 2)
        pooled = _divergence(
            self.network.fc(maps.mean((2, 3))),
            _target(self._teacher(seen.mean(1)), labels, label_share),
        )
        places = maps.flatten(2).transpose(1, 2)
        dense = _divergence(self.network.fc(places), self._teacher(seen).softmax(-1))
        cosine = functional.cosine_similarity(self.projection(places).float(), seen, dim=-1)
        distance = 1 - cosine.mean()
        parts = self.weights
        loss = parts.pooled * pooled + parts.dense * dense + parts.features * distance
        return {"loss": loss, "pooled": pooled, "dense": dense, "features": distance}

    def _teacher(self, features: Tensor) -> Tensor:
        return functional.linear(features, self.teacher_weight, self.teacher_bias).float()


def last_map(network: ResNet, x: Tensor) -> Tensor:
    """Return a ResNet's last feature map, (B, C, H / 32, W / 32), for inputs (B, 3, H, W)."""
    x = network.maxpool(network.relu(network.bn1(network.conv1(x))))
    x = network.layer4(network.layer3(network.layer2(network.layer1(x))))
    return x


def normalised(pictures: Tensor) -> Tensor:
    """Shift and scale pictures (B, 3, H, W) in [0, 1] as the published preprocessing does."""
    mean, std = _statistics(pictures.device)
    return (pictures - mean) / std


def denormalised(inputs: Tensor) -> Tensor:
    """Undo `normalised`."""
    mean, std = _statistics(inputs.device)
    return inputs * std + mean


def _statistics(device: torch.device) -> tuple[Tensor, Tensor]:
    mean, std = torch.tensor(MEAN, device=device), torch.tensor(STD, device=device)
    return mean.view(1, 3, 1, 1), std.view(1, 3, 1, 1)


def _target(logits: Tensor, labels: Tensor, share: float) -> Tensor:
    """Mix the teacher's probabilities with those among the classes that a picture can show."""
    classes = torch.arange(logits.shape[1], device=logits.device)
    possible = (classes >= labels[:, :1]) & (classes <= labels[:, 1:])
    among = logits.masked_fill(~possible, -torch.inf).softmax(-1)
    return (1 - share) * logits.softmax(-1) + share * among


def _divergence(logits: Tensor, target: Tensor) -> Tensor:
    """Return the mean Kullback-Leibler divergence of softmax(logits) from target, in nats."""
    log_scores = logits.float().log_softmax(-1).flatten(0, -2)
    return functional.kl_div(log_scores, target.flatten(0, -2), reduction="batchmean")
