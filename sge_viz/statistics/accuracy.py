"""Top-1 and top-5 hits, and which class of the network a folder's name means."""

from __future__ import annotations

import re
from importlib.resources import files

import numpy as np
from torch import Tensor

from sge_viz.statistics.layer import Pictures
from sge_viz.statistics.moments import Arrays, Counts

_WORDNET_ID = re.compile(r"n\d{8}")
_SHOWN = 5


def wordnet_ids() -> tuple[str, ...]:
    """Return the WordNet ids of ImageNet's 1,000 classes in the order of a network's outputs.

    That order is the ids' own: `torchvision.datasets.ImageFolder` sorts the folders by name.
    """
    text = files("sge_viz.statistics").joinpath("imagenet_wnids.txt").read_text("ascii")
    return tuple(text.split())


def outputs_of(names: tuple[str, ...], outputs: int) -> Counts:
    """Return the network's output for each class folder, (len(names),).

    Args:
        names: The folders' names: all WordNet ids ("n02086240") or all class indices ("0", "007").
        outputs: Number of the network's outputs; WordNet ids need ImageNet's 1,000.

    Raises:
        ValueError: There are no class folders, or names that are neither, unknown, too large, or
            of the same class.
    """
    if not names:
        raise ValueError(
            "There are no classes: put each class's pictures into a folder named by its WordNet id "
            "(such as n02086240) or its class index (such as 155)."
        )
    if all(_WORDNET_ID.fullmatch(name) for name in names):
        if outputs != 1000:
            raise ValueError(
                f"The folders are named by WordNet ids, and this network has {outputs} outputs "
                "rather than ImageNet's 1,000: name them by class index."
            )
        place = {name: index for index, name in enumerate(wordnet_ids())}
        unknown = [name for name in names if name not in place]
        if unknown:
            raise ValueError(f"{_listed(unknown)}: not among ImageNet's 1,000 classes.")
        return np.array([place[name] for name in names], np.int64)
    odd = [name for name in names if not (name.isascii() and name.isdigit())]
    if odd:
        raise ValueError(
            f"{_listed(odd)}: name every class folder by its WordNet id (such as n02086240), or "
            "every one by its class index (such as 155)."
        )
    indices = np.array([int(name) for name in names], np.int64)
    large = [name for name, index in zip(names, indices, strict=True) if index >= outputs]
    if large:
        raise ValueError(f"{_listed(large)}: the network's classes are 0 to {outputs - 1}.")
    if len(set(indices.tolist())) < len(indices):
        raise ValueError("Two class folders are of the same class index: merge them.")
    return indices


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


class Accuracy:
    """Hits of each class.

    Attributes:
        hits: (K, 3) int64: pictures, those whose class got the largest logit, and those whose
            class was among the five largest (all of fewer than five).
    """

    def __init__(self, targets: Counts) -> None:
        self._targets = targets
        self.hits: Counts = np.zeros((len(targets), 3), np.int64)

    def add(self, logits: Tensor, pictures: Pictures) -> None:
        """Count one batch.

        Args:
            logits: The network's outputs, (B, outputs).
            pictures: Which pictures they are of.
        """
        top = logits.float().topk(min(5, logits.shape[1]), dim=1).indices.cpu().numpy()
        hit = top == self._targets[pictures.labels][:, None]
        rows = np.stack([np.ones(len(hit), np.int64), hit[:, 0], hit.any(1)], 1)
        np.add.at(self.hits, pictures.labels, rows)

    def absorb(self, other: Accuracy) -> None:
        """Take in the hits of other pictures."""
        self.hits = self.hits + other.hits

    def arrays(self) -> Arrays:
        """Return everything as arrays by name."""
        return {"hits": self.hits, "targets": self._targets}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Accuracy:
        """Read what `arrays` gave."""
        accuracy = cls(arrays["targets"].astype(np.int64))
        accuracy.hits = arrays["hits"].astype(np.int64)
        return accuracy

    def rates(self) -> tuple[float, float]:
        """Return top-1 and top-5 accuracy over all pictures, in percent.

        Raises:
            ValueError: There was no picture.
        """
        pictures, first, five = self.hits.sum(0)
        if not pictures:
            raise ValueError("No picture could be read, so there is no accuracy.")
        return 100 * float(first) / float(pictures), 100 * float(five) / float(pictures)
